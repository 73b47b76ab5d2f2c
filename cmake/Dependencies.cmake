# Every third-party library under one name, mainstay_dep_<name>, with its headers as SYSTEM.
# A room that needs one lists it in NEEDS; docs/dependencies.md says why it is there.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

function(mainstay_dependency name)
  add_library(mainstay_dep_${name} INTERFACE)
  target_link_libraries(mainstay_dep_${name} INTERFACE ${ARGN})
endfunction()

mainstay_dependency(threads Threads::Threads)

# Boost: Asio, Beast, system::result are header-only; JSON is a library.
add_library(mainstay_dep_boost INTERFACE)
target_compile_definitions(mainstay_dep_boost INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ALLOW_DEPRECATED_HEADERS)
mainstay_dependency(boost_json boost_json)

pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
mainstay_dependency(xxhash PkgConfig::XXHASH)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
mainstay_dependency(zstd PkgConfig::ZSTD)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
mainstay_dependency(sqlite PkgConfig::SQLITE)
pkg_check_modules(EXPAT REQUIRED IMPORTED_TARGET expat)
mainstay_dependency(expat PkgConfig::EXPAT)
pkg_check_modules(FMT REQUIRED IMPORTED_TARGET fmt)
mainstay_dependency(fmt PkgConfig::FMT)

# libqpid-proton-core has no linker name in Debian; libqpid-proton.so is a second full copy: never both in one process.
mainstay_dependency(proton -l:libqpid-proton-core.so.10)

find_package(OpenSSL REQUIRED)
mainstay_dependency(ssl OpenSSL::SSL OpenSSL::Crypto)
find_package(CLI11 REQUIRED)
mainstay_dependency(cli11 CLI11::CLI11)
find_package(spdlog REQUIRED)
mainstay_dependency(spdlog spdlog::spdlog)
find_package(tomlplusplus REQUIRED)
mainstay_dependency(toml tomlplusplus::tomlplusplus)
find_package(prometheus-cpp CONFIG REQUIRED)
mainstay_dependency(prometheus prometheus-cpp::core)

find_package(GTest REQUIRED)
