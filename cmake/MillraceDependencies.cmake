# Third-party libraries: Debian's where they are good enough, else the pinned ones that `make setup`
# puts into the cache folder (tools/setup/deps.sh).

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(CURL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark QUIET)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
find_package(Boost 1.81 REQUIRED)

add_library(millrace_boost INTERFACE)
target_link_libraries(millrace_boost INTERFACE Boost::headers Threads::Threads)

if(DEFINED ENV{MILLRACE_CACHE})
  set(_cache "$ENV{MILLRACE_CACHE}")
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache "$ENV{XDG_CACHE_HOME}/millrace")
else()
  set(_cache "$ENV{HOME}/.cache/millrace")
endif()
file(STRINGS "${CMAKE_SOURCE_DIR}/tools/setup/versions.env" _versions REGEX "^[a-z_]+=")
foreach(_line IN LISTS _versions)
  string(REGEX MATCH "^([a-z_]+)=(.*)$" _ "${_line}")
  set(_version_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
endforeach()

set(MILLRACE_ORT_INCLUDE "" CACHE PATH
  "Folder with onnxruntime_c_api.h (empty: the pinned one in the cache folder)")
set(MILLRACE_ORT_LIBRARY "" CACHE FILEPATH
  "The libonnxruntime.so that is placed beside the binary (empty: the pinned one)")
set(MILLRACE_RDKAFKA_ROOT "" CACHE PATH
  "Install prefix of a static librdkafka (empty: the pinned one)")
if(NOT MILLRACE_ORT_INCLUDE)
  set(MILLRACE_ORT_INCLUDE "${_cache}/onnxruntime-headers-${_version_ort_headers}/include")
endif()
if(NOT MILLRACE_ORT_LIBRARY)
  set(MILLRACE_ORT_LIBRARY "${_cache}/onnxruntime-${_version_ort}/libonnxruntime.so")
endif()
if(NOT MILLRACE_RDKAFKA_ROOT)
  set(MILLRACE_RDKAFKA_ROOT "${_cache}/librdkafka-${_version_rdkafka}-${_version_rdkafka_build}")
  # One that the sanitizer can see into, when `make test-asan` or `make test-tsan` has built it.
  if(MILLRACE_SANITIZE AND EXISTS "${MILLRACE_RDKAFKA_ROOT}-${MILLRACE_SANITIZE}/.complete")
    string(APPEND MILLRACE_RDKAFKA_ROOT "-${MILLRACE_SANITIZE}")
  endif()
endif()

if(NOT EXISTS "${MILLRACE_ORT_LIBRARY}")
  message(FATAL_ERROR "No ${MILLRACE_ORT_LIBRARY}: run `make setup`")
endif()
if(NOT EXISTS "${MILLRACE_ORT_INCLUDE}/onnxruntime_c_api.h")
  message(FATAL_ERROR "No onnxruntime_c_api.h in ${MILLRACE_ORT_INCLUDE}: run `make setup`")
endif()
if(NOT EXISTS "${MILLRACE_RDKAFKA_ROOT}/lib/librdkafka.a")
  message(FATAL_ERROR "No lib/librdkafka.a in ${MILLRACE_RDKAFKA_ROOT}: run `make setup`")
endif()

# One with our changes: tools/setup/librdkafka/README.md.
file(STRINGS "${MILLRACE_RDKAFKA_ROOT}/include/librdkafka/rdkafka.h" _changed
  REGEX "rd_kafka_headers_new_encoded\\(")
if(NOT _changed)
  message(FATAL_ERROR "The librdkafka in ${MILLRACE_RDKAFKA_ROOT} lacks the changes in "
    "tools/setup/librdkafka: run `make setup`, or build yours with them")
endif()

# Headers only: the library itself is opened at run time, first from the binary's own folder.
add_library(millrace_ort INTERFACE)
target_include_directories(millrace_ort SYSTEM INTERFACE "${MILLRACE_ORT_INCLUDE}")
target_link_libraries(millrace_ort INTERFACE ${CMAKE_DL_LIBS})
file(CREATE_LINK "${MILLRACE_ORT_LIBRARY}" "${CMAKE_BINARY_DIR}/libonnxruntime.so" SYMBOLIC)

# The allocator of the binaries: librdkafka allocates for each record and header, a thousand at a
# time on one thread, which costs glibc three times as much. Sanitizers bring their own.
add_library(millrace_malloc INTERFACE)
if(NOT MILLRACE_SANITIZE AND NOT MILLRACE_FUZZ)
  find_library(MILLRACE_JEMALLOC NAMES libjemalloc_pic.a REQUIRED)
  target_link_libraries(millrace_malloc INTERFACE "${MILLRACE_JEMALLOC}" Threads::Threads
    ${CMAKE_DL_LIBS} m stdc++)
endif()

# An imported library, not a file: what it needs must stand behind it on the linker's line.
add_library(millrace_rdkafka_archive STATIC IMPORTED)
set_target_properties(millrace_rdkafka_archive PROPERTIES
  IMPORTED_LOCATION "${MILLRACE_RDKAFKA_ROOT}/lib/librdkafka.a")
target_include_directories(millrace_rdkafka_archive SYSTEM INTERFACE
  "${MILLRACE_RDKAFKA_ROOT}/include")
target_link_libraries(millrace_rdkafka_archive INTERFACE
  CURL::libcurl OpenSSL::SSL OpenSSL::Crypto ZLIB::ZLIB PkgConfig::ZSTD Threads::Threads
  ${CMAKE_DL_LIBS} m)
add_library(millrace_rdkafka INTERFACE)
target_link_libraries(millrace_rdkafka INTERFACE millrace_rdkafka_archive)
