include(GoogleTest)

# mainstay_room(NAME USES other rooms… NEEDS dependencies…)
#
# Declares the room src/NAME: one static library from its *.cpp, except
#   *_test.cpp       → one test program NAME_test, every case a CTest test labelled NAME
#   *_fuzz.cpp       → one fuzz target each; without MAINSTAY_FUZZ it replays fuzz_corpus/<target>/* as a test
# and a link test: an executable of this room's objects and its declared uses only, so that an undeclared use
# fails to link. TEST_USES and TEST_NEEDS add what only the tests need.
#
# ./dev test gives ctest three slots for each core. A test that computes takes three of them (PROCESSORS), one of
# processes that mostly wait for each other one or two, so that waiting costs no core. TESTS_WAIT: this room's do.
# ctest starts what costs most of what fits into the free slots. Were all that waits dearer than what computes, three slots
# would not be free before it had ended; were it cheaper, it would come last. So three slots full of what waits come first, then
# what computes, then the rest of what waits: one core computes while what waits shares the slots of the other.
set(MAINSTAY_SLOTS_OF_A_CORE 3)
set(MAINSTAY_COMPUTES PROCESSORS ${MAINSTAY_SLOTS_OF_A_CORE} COST 1000)
function(mainstay_room name)
  cmake_parse_arguments(ROOM "TESTS_WAIT" "" "USES;NEEDS;TEST_USES;TEST_NEEDS" ${ARGN})
  set(dir "${CMAKE_CURRENT_SOURCE_DIR}/${name}")
  file(GLOB sources CONFIGURE_DEPENDS "${dir}/*.cpp")
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz)\\.cpp$")

  set(uses ${ROOM_USES})
  list(TRANSFORM uses PREPEND mainstay_)
  set(needs ${ROOM_NEEDS})
  list(TRANSFORM needs PREPEND mainstay_dep_)
  set(slots ${MAINSTAY_COMPUTES})
  if(ROOM_TESTS_WAIT)
    set(slots PROCESSORS 1)
  endif()

  add_library(mainstay_${name} STATIC ${sources})
  target_include_directories(mainstay_${name} PUBLIC "${CMAKE_SOURCE_DIR}/src")
  target_link_libraries(mainstay_${name} PUBLIC ${uses} ${needs} PRIVATE mainstay_flags)
  mainstay_precompiled(mainstay_${name} library)

  file(GENERATE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/${name}_link_test.cpp" CONTENT "int main() { return 0; }\n")
  add_executable(${name}_link_test "${CMAKE_CURRENT_BINARY_DIR}/${name}_link_test.cpp")
  target_link_libraries(${name}_link_test PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,mainstay_${name}>")
  add_custom_target(room_${name})  # everything `./dev test NAME` runs
  add_dependencies(room_${name} ${name}_link_test)
  add_test(NAME ${name}.LinksWithDeclaredUsesOnly COMMAND ${name}_link_test)
  set_tests_properties(${name}.LinksWithDeclaredUsesOnly PROPERTIES LABELS ${name} ${MAINSTAY_COMPUTES})

  if(tests)
    set(test_uses ${ROOM_TEST_USES})
    list(TRANSFORM test_uses PREPEND mainstay_)
    set(test_needs ${ROOM_TEST_NEEDS})
    list(TRANSFORM test_needs PREPEND mainstay_dep_)
    add_executable(${name}_test ${tests} ${MAINSTAY_ASAN_DEFAULTS})
    target_link_libraries(${name}_test PRIVATE mainstay_${name} ${test_uses} ${test_needs} GTest::gmock GTest::gtest_main mainstay_flags)
    target_compile_options(${name}_test PRIVATE ${MAINSTAY_TEST_OPTIONS})
    mainstay_precompiled(${name}_test test)
    add_dependencies(room_${name} ${name}_test)
    gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
      WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTIES LABELS ${name} TIMEOUT 300 ${slots})
  endif()

  foreach(source IN LISTS fuzzers)
    get_filename_component(target "${source}" NAME_WE)
    add_executable(${target} "${source}")
    target_link_libraries(${target} PRIVATE mainstay_${name} mainstay_flags)
    if(MAINSTAY_FUZZ)
      target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    else()
      add_dependencies(room_${name} ${target})
      target_sources(${target} PRIVATE "${CMAKE_SOURCE_DIR}/cmake/fuzz_replay.cpp")
      add_test(NAME ${name}.${target}_replays COMMAND ${target} "${dir}/fuzz_corpus/${target}")
      set_tests_properties(${name}.${target}_replays PROPERTIES LABELS ${name} ${MAINSTAY_COMPUTES})
    endif()
  endforeach()
endfunction()
