#include "drills/generator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/assert.h"
#include "drills/tsv.h"
#include "payments/message.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t remembered_max = 3000;

Failure our_mistake(const std::string& made_from, const std::string& what) {
  return {"the generator made a bad message from template " + made_from + ": " + what};
}

/// The only message in `bytes`.
Result<payments::Message, Failure> read_one(const std::string& bytes, const std::string& made_from) {
  auto messages = payments::read_messages(as_bytes(bytes));
  if (messages.size() != 1) return our_mistake(made_from, fmt::format("{} messages in one", messages.size()));
  return std::move(messages.front());
}

void replace_all(std::string& in, std::string_view what, std::string_view by) {
  for (std::size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + by.size()))
    in.replace(at, what.size(), by);
}

/// The ways in which the same message comes again with other bytes.
std::string with_line_feeds_only(std::string bytes) {
  replace_all(bytes, "\r\n", "\n");
  return bytes;
}
std::string with_pde_trailer(std::string bytes) {
  const std::size_t trailers = bytes.find("-}{5:");
  if (trailers == std::string::npos) return bytes + "{5:{PDE:}}";
  return bytes.insert(trailers + 5, "{PDE:}");
}
std::string without_indentation(const std::string& bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    out += bytes[i];
    if (bytes[i] != '>') continue;
    const std::size_t next = bytes.find_first_not_of(" \t\r\n", i + 1);
    if (next != std::string::npos && bytes[next] == '<') i = next - 1;
  }
  return out;
}
std::string flagged_as_possible_duplicate(std::string bytes) {
  constexpr std::string_view date_end = "</CreDt>";
  const std::size_t at = bytes.find(date_end);
  if (at == std::string::npos) return without_indentation(bytes);
  return bytes.insert(at + date_end.size(), "<PssblDplct>true</PssblDplct>");
}

/// A program's file names sort in the order in which they were made.
std::string file_name(std::uint64_t number, std::string_view extension) {
  return fmt::format("{:08}.{}", number, extension);
}

}  // namespace

struct Generator::Record {
  explicit Record(const std::string& path) : file(std::fopen(path.c_str(), "wbe")) {}
  ~Record() {
    if (file != nullptr) std::fclose(file);
  }
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;
  [[nodiscard]] bool write(std::string_view text) const {
    return std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  }
  std::FILE* file;
};

Result<std::string, Failure> default_templates_directory() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path installed =
      program.parent_path().parent_path() / "share" / "mainstay" / "samples" / "templates";
  if (fs::is_directory(installed, error)) return {boost::system::in_place_value, installed.string()};
  if (fs::is_directory(MAINSTAY_TEMPLATES_DIRECTORY, error))
    return {boost::system::in_place_value, MAINSTAY_TEMPLATES_DIRECTORY};
  return Failure{"message templates are neither in " + installed.string() +
                 " nor in " MAINSTAY_TEMPLATES_DIRECTORY "; name their directory"};
}

Result<std::unique_ptr<Generator>, Failure> Generator::open(const GeneratorOptions& options) {
  std::string directory = options.templates;
  if (directory.empty()) {
    const auto found = default_templates_directory();
    if (!found) return found.error();
    directory = *found;
  }
  auto templates = load_templates(directory);
  if (!templates) return templates.error();
  std::unique_ptr<Generator> generator(new Generator(options, std::move(*templates)));
  auto stream = PaymentStream::make(generator->templates_, generator->random_);
  if (!stream) return stream.error();
  generator->stream_ = std::make_unique<PaymentStream>(std::move(*stream));
  generator->record_ = std::make_unique<Record>(options.record);
  if (generator->record_->file == nullptr || !generator->record_->write(ingest_record_header()))
    return Failure{"cannot write the ingest record " + options.record + ": " + std::strerror(errno)};
  return generator;
}

Generator::Generator(GeneratorOptions options, std::vector<payments::Template> templates)
    : options_(std::move(options)), templates_(std::move(templates)), random_(options_.seed) {}
Generator::~Generator() = default;

Result<void, Failure> Generator::write_until(std::uint64_t due) {
  due = std::min(due, options_.messages);
  while (counts_.messages < due)
    if (auto written = write_file(); !written) return written.error();
  return {};
}

Result<void, Failure> Generator::write_file() {
  // Weights of files: by messages about a quarter is MX, every eighth a FIN file of its own, the rest
  // batches.
  enum class Shape : std::uint8_t { xml, fin, rje, pcc };
  const std::uint64_t draw = random_.below(1000);
  const Shape shape = draw < 715   ? Shape::xml
                      : draw < 945 ? Shape::fin
                      : draw < 976 ? Shape::rje
                                   : Shape::pcc;
  const std::uint64_t wanted = shape == Shape::rje   ? random_.between(10, random_.chance(1, 3) ? 200 : 60)
                               : shape == Shape::pcc ? random_.between(3, 40)
                                                     : 1;
  const std::uint64_t count = std::min(wanted, options_.messages - counts_.messages);
  std::vector<Made> items;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto made = make(shape == Shape::xml ? PaymentStream::Want::mx : PaymentStream::Want::mt);
    if (!made) return made.error();
    items.push_back(std::move(*made));
  }
  std::string content;
  switch (shape) {
    case Shape::rje:
      for (const Made& item : items) content += (content.empty() ? "" : "$") + item.bytes;
      ++counts_.files_rje;
      break;
    case Shape::pcc:
      for (const Made& item : items) {
        content += '\x01' + item.bytes + '\x03';
        content.append((512 - content.size() % 512) % 512, ' ');
      }
      ++counts_.files_pcc;
      break;
    case Shape::fin:
      content = items.front().bytes;
      ++counts_.files_fin;
      break;
    case Shape::xml:
      content = items.front().bytes;
      ++counts_.files_xml;
      break;
  }
  constexpr std::string_view extensions[] = {"xml", "fin", "rje", "pcc"};
  return publish(file_name(++counts_.files, extensions[static_cast<std::size_t>(shape)]), content, items);
}

Result<Generator::Made, Failure> Generator::make(PaymentStream::Want want) {
  const std::uint64_t draw = random_.below(1000);
  const std::uint64_t duplicates_end = options_.duplicates_per_mille;
  const std::uint64_t conflicts_end = duplicates_end + options_.conflicts_per_mille;
  if (draw < duplicates_end) {
    if (const Remembered* earlier = recall(want, false)) return make_duplicate(*earlier);
  } else if (draw < conflicts_end) {
    if (Remembered* earlier = recall(want, true)) return make_conflict(*earlier);
  } else if (draw < conflicts_end + options_.malformed_per_mille) {
    return make_malformed(want);
  }
  return make_normal(want);
}

Result<Generator::Made, Failure> Generator::make_normal(PaymentStream::Want want) {
  Draft draft = stream_->next(want);
  Made made{.bytes = draft.bytes(),
            .kind = EntryKind::normal,
            .made_from = draft.made_from->name(),
            .key = {},
            .content_digest = {}};
  const auto message = read_one(made.bytes, made.made_from);
  if (!message) return message.error();
  if (!message->valid) return our_mistake(made.made_from, message->code + ": " + message->why);
  made.key = message->idempotency_key;
  made.content_digest = message->content_digest;
  Remembered remembered{std::move(draft), made.key, made.content_digest, message->ordering_key};
  if (remembered_.size() < remembered_max)
    remembered_.push_back(std::move(remembered));
  else
    remembered_[remembered_next_++ % remembered_max] = std::move(remembered);
  return made;
}

Generator::Remembered* Generator::recall(PaymentStream::Want want, bool for_conflict) {
  // A few tries, then a normal message instead: early on there is little to recall.
  for (int attempt = 0; attempt < 20 && !remembered_.empty(); ++attempt) {
    Remembered& candidate = remembered_[random_.below(remembered_.size())];
    const payments::Template& made_from = *candidate.draft.made_from;
    if (made_from.is_mx() != (want == PaymentStream::Want::mx)) continue;
    if (for_conflict &&
        (candidate.conflicted || !(made_from.uses("AMOUNT_MT") || made_from.uses("AMOUNT_MX"))))
      continue;
    return &candidate;
  }
  return nullptr;
}

Result<Generator::Made, Failure> Generator::make_duplicate(const Remembered& of) {
  Made made{.bytes = of.draft.bytes(),
            .kind = EntryKind::duplicate,
            .made_from = of.draft.made_from->name(),
            .key = of.key,
            .content_digest = of.content_digest};
  const std::uint64_t way = random_.below(3);
  const bool mx = of.draft.made_from->is_mx();
  if (way == 1) {
    made.bytes = mx ? without_indentation(made.bytes) : with_line_feeds_only(made.bytes);
    made.made_from += ", reformatted";
  } else if (way == 2) {
    made.bytes = mx ? flagged_as_possible_duplicate(made.bytes) : with_pde_trailer(made.bytes);
    made.made_from += ", flagged as possible duplicate";
  }
  const auto message = read_one(made.bytes, made.made_from);
  if (!message) return message.error();
  if (!message->valid || message->idempotency_key != of.key || message->content_digest != of.content_digest ||
      message->ordering_key != of.ordering_key)
    return our_mistake(made.made_from, "it is no duplicate of " + of.key + " " + message->why);
  return made;
}

Result<Generator::Made, Failure> Generator::make_conflict(Remembered& with) {
  with.conflicted = true;
  const Draft other = stream_->altered(with.draft);
  Made made{.bytes = other.bytes(),
            .kind = EntryKind::conflict,
            .made_from = other.made_from->name() + ", another amount",
            .key = with.key,
            .content_digest = {}};
  const auto message = read_one(made.bytes, made.made_from);
  if (!message) return message.error();
  if (!message->valid || message->idempotency_key != with.key ||
      message->content_digest == with.content_digest || message->ordering_key != with.ordering_key)
    return our_mistake(made.made_from, "it is no conflict with " + with.key + " " + message->why);
  made.content_digest = message->content_digest;
  return made;
}

Result<Generator::Made, Failure> Generator::make_malformed(PaymentStream::Want want) {
  const Draft draft = stream_->next(want);
  Made made{.bytes = draft.bytes(),
            .kind = EntryKind::malformed,
            .made_from = draft.made_from->name(),
            .key = {},
            .content_digest = {}};
  if (want == PaymentStream::Want::mx) {
    if (random_.chance(1, 2)) {
      made.bytes.resize(made.bytes.size() * 2 / 3);
      made.made_from += ", cut off";
    } else {
      made.bytes.insert(made.bytes.find("?>") + 2, "<!DOCTYPE x [<!ENTITY y \"z\">]>");
      made.made_from += ", with a DTD";
    }
  } else if (random_.chance(1, 2)) {
    made.bytes.replace(made.bytes.find("\r\n:20:") + 6, 2, "//");  // a reference must not begin with a slash
    made.made_from += ", with a bad reference";
  } else {
    made.bytes.erase(made.bytes.find("{4:") + 1, 2);
    made.made_from += ", without its block 4";
  }
  const auto message = read_one(made.bytes, made.made_from);
  if (!message) return message.error();
  if (message->valid) return our_mistake(made.made_from, "it is valid");
  return made;
}

Result<void, Failure> Generator::publish(const std::string& name, const std::string& content,
                                         const std::vector<Made>& items) {
  std::vector<IngestEntry> entries = entries_of_file(name, content, counts_.messages + 1);
  if (entries.size() != items.size())
    return Failure{fmt::format("the generator put {} messages into {} and {} are found in it", items.size(),
                               name, entries.size())};
  std::string lines;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (entries[i].key != items[i].key || entries[i].content_digest != items[i].content_digest)
      return our_mistake(items[i].made_from,
                         fmt::format("it reads differently inside {} (item {})", name, i + 1));
    entries[i].kind = items[i].kind;
    append_line(lines, entries[i]);
    ++counts_.messages;
    switch (items[i].kind) {
      case EntryKind::normal:
        break;
      case EntryKind::duplicate:
        ++counts_.duplicates;
        break;
      case EntryKind::conflict:
        ++counts_.conflicts;
        break;
      case EntryKind::malformed:
        ++counts_.malformed;
        break;
    }
  }
  if (!record_->write(lines))
    return Failure{"cannot write the ingest record " + options_.record + ": " + std::strerror(errno)};
  std::ranges::move(entries, std::back_inserter(entries_));
  const std::string unfinished = options_.inbox + "/." + name + ".tmp";
  if (auto written = write_text_file(unfinished, content); !written) return written.error();
  if (::rename(unfinished.c_str(), (options_.inbox + "/" + name).c_str()) != 0)
    return Failure{"cannot put " + name + " into " + options_.inbox + ": " + std::strerror(errno)};
  return {};
}

}  // namespace mainstay::drills
