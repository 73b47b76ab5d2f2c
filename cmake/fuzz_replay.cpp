// Runs a fuzz target over stored inputs and over seeded mutations of them, for builds without libFuzzer.
// Mutations make the replay worth running where only GCC is at hand; the seed is printed and can be given.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {
std::uint64_t state = 1;
std::uint64_t draw() {  // splitmix64
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
}  // namespace

int main(int argc, char** argv) {
  std::vector<std::vector<std::uint8_t>> inputs;
  inputs.emplace_back();
  if (argc > 1 && std::filesystem::is_directory(argv[1])) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
      std::ifstream file(entry.path(), std::ios::binary);
      inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  const char* given = std::getenv("MAINSTAY_SEED");
  state = given != nullptr ? std::strtoull(given, nullptr, 10) : 20240917;
  std::printf("replaying %zu inputs and mutations of them, MAINSTAY_SEED=%llu\n", inputs.size(),
              static_cast<unsigned long long>(state));
  for (const auto& input : inputs) {
    LLVMFuzzerTestOneInput(input.data(), input.size());
    for (int round = 0; round < 200 && !input.empty(); ++round) {
      auto mutated = input;
      for (std::uint64_t edits = 1 + draw() % 4; edits > 0 && !mutated.empty(); --edits) {
        const std::size_t at = draw() % mutated.size();
        switch (draw() % 4) {
          case 0:
            mutated[at] = static_cast<std::uint8_t>(draw());
            break;
          case 1:
            mutated[at] ^= static_cast<std::uint8_t>(1U << (draw() % 8));
            break;
          case 2:
            mutated.resize(at);
            break;
          default:
            mutated.insert(mutated.begin() + static_cast<std::ptrdiff_t>(at),
                           static_cast<std::uint8_t>(draw()));
        }
      }
      LLVMFuzzerTestOneInput(mutated.data(), mutated.size());
    }
  }
  return 0;
}
