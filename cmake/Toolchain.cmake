# Flags for our own code, stated once. Third-party headers are SYSTEM, so warnings concern only us.
# Every program of a preset in one place: build/<preset>/bin.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")  # assertions are our own macro and stay on; NDEBUG is never set
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -fno-omit-frame-pointer")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # It believes a precompiled header to be what its sources make it.
  set(CMAKE_CXX_COMPILER_LAUNCHER /usr/bin/env CCACHE_SLOPPINESS=pch_defines,time_macros "${CCACHE_PROGRAM}")
endif()

find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

# The standard library's own preconditions (an empty std::optional, an index beyond a std::vector): no sanitizer sees them all.
add_compile_definitions($<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)

add_library(mainstay_flags INTERFACE)
target_compile_options(mainstay_flags INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  -Wnon-virtual-dtor -Wimplicit-fallthrough -Wformat=2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12's flow analysis reports these on inlined std::variant and std::string code under sanitizers.
  target_compile_options(mainstay_flags INTERFACE
    -Wno-error=maybe-uninitialized -Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()

# Test code runs little and is most of what a clean build compiles; the rooms' own code keeps its flags.
# Optimising, GCC 12 reports the other one on bytes inserted into a std::vector, inside its own copying (leader_test.cpp).
set(MAINSTAY_TEST_OPTIONS $<$<CONFIG:Debug>:-O0>
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<NOT:$<CONFIG:Debug>>>:-Wno-stringop-overread>)

if(MAINSTAY_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Asio's fences are beside mutexes, which the sanitizer follows; fences themselves it does not model.
  add_compile_options(-Wno-tsan)
endif()
if(MAINSTAY_SANITIZE)
  add_compile_options(-fsanitize=${MAINSTAY_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MAINSTAY_SANITIZE})
endif()
set(MAINSTAY_ASAN_DEFAULTS "")  # for programs that repeat a run exactly
if(MAINSTAY_SANITIZE MATCHES "address" AND NOT MAINSTAY_FUZZ)
  set(MAINSTAY_ASAN_DEFAULTS "${CMAKE_SOURCE_DIR}/cmake/asan_defaults.cpp")
endif()
if(MAINSTAY_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(MAINSTAY_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()
