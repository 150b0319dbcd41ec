file(GLOB_RECURSE demo_files CONFIGURE_DEPENDS
  "${CMAKE_SOURCE_DIR}/examples/demo/models/*" "${CMAKE_SOURCE_DIR}/examples/demo/data/*.csv")
millrace_embed(millrace_app NAME DemoFile BASE "${CMAKE_SOURCE_DIR}/examples/demo"
  FILES ${demo_files})
