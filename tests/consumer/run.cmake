# Builds and runs tests/consumer against the library. Variables: WAY (find_package, FetchContent or
# pkg-config), CXX, GENERATOR, SOURCE_DIR and BINARY_DIR of seqbayes, WORK_DIR (made anew).
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(consumer ${SOURCE_DIR}/tests/consumer)
file(REMOVE_RECURSE ${WORK_DIR})

if(NOT WAY STREQUAL FetchContent)
  # The installed tree is moved, to see that it holds no absolute path.
  run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${WORK_DIR}/first)
  file(RENAME ${WORK_DIR}/first ${WORK_DIR}/prefix)
endif()

if(WAY STREQUAL pkg-config)
  find_program(PKG_CONFIG NAMES pkg-config pkgconf REQUIRED)
  set(ENV{PKG_CONFIG_PATH} ${WORK_DIR}/prefix/share/pkgconfig)
  execute_process(COMMAND ${PKG_CONFIG} --cflags --libs "seqbayes >= 0.1" OUTPUT_VARIABLE flags
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  run(${CXX} -std=c++20 ${consumer}/main.cpp ${flags} -o ${WORK_DIR}/consumer)
  run(${WORK_DIR}/consumer)
  return()
endif()

if(WAY STREQUAL FetchContent)
  set(where -DSEQBAYES_SOURCE=${SOURCE_DIR})
else()
  set(where -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix)
endif()
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${consumer} -B ${WORK_DIR}/build
    -DCMAKE_CXX_COMPILER=${CXX} ${where})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/consumer)
