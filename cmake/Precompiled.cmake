# Headers that nearly every source includes, compiled once for the presets that run tests: a fifth of what such a source takes to
# compile is parsing them. A source includes what it uses all the same: optimised and clang's presets compile each one alone (GCC 12
# reports overreads inside std::string that are none, when it inlines what it has from a precompiled header).
#
# mainstay_precompiled(TARGET library|test): these headers for a room's library, for its test program. GCC takes a precompiled header
# only with the flags that it was made with, and CMake compiles what goes into a library otherwise than what goes into a program.

set(MAINSTAY_COMMON_HEADERS <algorithm> <array> <chrono> <compare> <cstddef> <cstdint> <cstring> <deque> <functional> <map>
  <memory> <optional> <set> <span> <string> <string_view> <unordered_map> <utility> <variant> <vector> <boost/system/result.hpp>)

if(CMAKE_BUILD_TYPE STREQUAL "Debug" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/precompiled.cpp" CONTENT "int main() { return 0; }\n")
  add_library(mainstay_library_headers OBJECT "${CMAKE_BINARY_DIR}/precompiled.cpp")
  target_precompile_headers(mainstay_library_headers PRIVATE ${MAINSTAY_COMMON_HEADERS})
  add_executable(mainstay_test_headers "${CMAKE_BINARY_DIR}/precompiled.cpp")
  target_precompile_headers(mainstay_test_headers PRIVATE ${MAINSTAY_COMMON_HEADERS} <gmock/gmock.h> <gtest/gtest.h>)
  foreach(headers IN ITEMS library test)
    target_compile_options(mainstay_${headers}_headers PRIVATE -fpch-preprocess)
    target_link_libraries(mainstay_${headers}_headers PRIVATE mainstay_flags mainstay_dep_boost)
  endforeach()
  target_link_libraries(mainstay_test_headers PRIVATE GTest::gmock)
  target_compile_options(mainstay_test_headers PRIVATE ${MAINSTAY_TEST_OPTIONS})
endif()

function(mainstay_precompiled target headers)
  if(TARGET mainstay_${headers}_headers)
    target_precompile_headers(${target} REUSE_FROM mainstay_${headers}_headers)
    target_compile_options(${target} PRIVATE -fpch-preprocess)  # for ccache
  endif()
endfunction()
