# One folder of src/ is one module: a static library, one GoogleTest binary, fuzz targets,
# benchmarks.

# Objects that read MILLRACE_TEST_POINTS exist in two variants, so that the release binary and the
# test binary share everything else. Only sources may read it: a header would need the modules built
# twice.
add_library(millrace_points_off INTERFACE)
add_library(millrace_points_on INTERFACE)
if(MILLRACE_TEST_POINTS)
  set(MILLRACE_DEFAULT_POINTS millrace_points_on)
else()
  set(MILLRACE_DEFAULT_POINTS millrace_points_off)
endif()

function(_millrace_points name out_sources)
  set(plain "")
  set(pointed "")
  foreach(source IN LISTS ARGN)
    file(STRINGS "${source}" hit REGEX "MILLRACE_TEST_POINTS" LIMIT_COUNT 1)
    if(hit)
      list(APPEND pointed "${source}")
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
    else()
      list(APPEND plain "${source}")
    endif()
  endforeach()
  set(${out_sources} "${plain}" PARENT_SCOPE)
  if(NOT pointed)
    return()
  endif()
  foreach(variant off on)
    set(objects millrace_${name}_points_${variant})
    add_library(${objects} OBJECT ${pointed})
    target_include_directories(${objects} PRIVATE "${CMAKE_SOURCE_DIR}/src")
    target_link_libraries(${objects} PRIVATE millrace_flags millrace_build_info ${deps} ${arg_LIBS})
    target_link_libraries(millrace_points_${variant} INTERFACE $<TARGET_OBJECTS:${objects}>)
  endforeach()
  target_compile_definitions(millrace_${name}_points_on PRIVATE MILLRACE_TEST_POINTS=1)
endfunction()

add_custom_target(millrace_fuzzers)

# millrace_module(<name> [DEPS module...] [LIBS target...])
# A folder without sources is skipped; a dependency that was skipped is left out.
function(millrace_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPS;LIBS")
  set(root "${CMAKE_SOURCE_DIR}/src/${name}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${root}/*.cc")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${root}/*.h")
  if(NOT sources AND NOT headers)
    return()
  endif()
  set(tests ${sources})
  set(fuzzers ${sources})
  set(benches ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
  list(REMOVE_ITEM sources "${CMAKE_SOURCE_DIR}/src/app/main.cc")

  set(deps "")
  foreach(dep IN LISTS arg_DEPS)
    if(TARGET millrace_${dep})
      list(APPEND deps millrace_${dep})
    endif()
  endforeach()

  _millrace_points(${name} sources ${sources})
  set(target millrace_${name})
  if(sources)
    add_library(${target} STATIC ${sources})
    target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}/src")
    target_link_libraries(${target} PUBLIC ${deps} millrace_build_info
      PRIVATE millrace_flags ${arg_LIBS})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${CMAKE_SOURCE_DIR}/src")
    target_link_libraries(${target} INTERFACE ${deps} millrace_build_info ${arg_LIBS})
  endif()
  if(EXISTS "${root}/embed.cmake")
    include("${root}/embed.cmake")
  endif()

  if(tests)
    add_executable(${target}_test ${tests})
    target_link_libraries(${target}_test PRIVATE
      ${target} ${deps} ${arg_LIBS} millrace_points_on millrace_flags
      GTest::gtest GTest::gtest_main)
    target_compile_definitions(${target}_test PRIVATE
      MILLRACE_SOURCE_DIR="${CMAKE_SOURCE_DIR}" MILLRACE_ORT_LIBRARY="${MILLRACE_ORT_LIBRARY}")
    add_test(NAME ${name} COMMAND ${target}_test --gtest_brief=1
      WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
  endif()
  foreach(fuzzer IN LISTS fuzzers)
    _millrace_fuzzer(${target} "${fuzzer}")
  endforeach()
  if(benches AND benchmark_FOUND)
    add_executable(${target}_bench EXCLUDE_FROM_ALL ${benches})
    target_link_libraries(${target}_bench PRIVATE
      ${target} ${arg_LIBS} millrace_points_off millrace_flags benchmark::benchmark_main)
  endif()
endfunction()

# <x>_fuzz.cc with its corpus in fuzz/corpus/<x>_fuzz/. With MILLRACE_FUZZ it is a libFuzzer
# program; without, a small driver runs it over the corpus once, as a test.
function(_millrace_fuzzer library source)
  cmake_path(GET source STEM stem)
  set(target millrace_${stem})
  set(corpus "${CMAKE_SOURCE_DIR}/fuzz/corpus/${stem}")
  add_executable(${target} "${source}")
  add_dependencies(millrace_fuzzers ${target})
  target_link_libraries(${target} PRIVATE ${library} millrace_points_off millrace_flags)
  if(MILLRACE_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${stem} COMMAND ${target} -runs=0 "${corpus}")
  else()
    target_sources(${target} PRIVATE "${CMAKE_SOURCE_DIR}/tests/fuzz_driver.cc")
    add_test(NAME ${stem} COMMAND ${target} "${corpus}")
  endif()
  set_tests_properties(${stem} PROPERTIES TIMEOUT 120)
endfunction()

# build/millrace from src/app/main.cc, and build/millrace-test, the same with its crash points
# armed.
function(millrace_binary)
  set(main "${CMAKE_SOURCE_DIR}/src/app/main.cc")
  if(NOT EXISTS "${main}" OR NOT TARGET millrace_app)
    message(STATUS "No src/app/main.cc yet: only the modules are built")
    return()
  endif()
  add_executable(millrace "${main}")
  target_link_libraries(millrace PRIVATE
    millrace_app ${MILLRACE_DEFAULT_POINTS} millrace_flags millrace_malloc)
  add_executable(millrace-test "${main}")
  target_link_libraries(millrace-test PRIVATE
    millrace_app millrace_points_on millrace_flags millrace_malloc)
endfunction()
