# Builds and runs tests/consumer against the library. Variables: WAY (find_package, FetchContent or
# pkg-config), CXX, GENERATOR, SOURCE_DIR and BINARY_DIR of seqbayes, WORK_DIR (made anew). With
# EIGEN_VERSION, the headers in EIGEN_DIR are offered as the package of that version and nothing is
# compiled.
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

if(EIGEN_VERSION)
  include(CMakePackageConfigHelpers)
  set(eigen ${WORK_DIR}/prefix/share/eigen3/cmake)
  file(WRITE ${eigen}/Eigen3Config.cmake
       "add_library(Eigen3::Eigen INTERFACE IMPORTED)\n"
       "target_include_directories(Eigen3::Eigen INTERFACE ${EIGEN_DIR})\n")
  # As Eigen does it.
  write_basic_package_version_file(
    ${eigen}/Eigen3ConfigVersion.cmake
    VERSION ${EIGEN_VERSION}
    COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
  file(WRITE ${WORK_DIR}/prefix/share/pkgconfig/eigen3.pc
       "Name: Eigen3\nDescription: Eigen\nVersion: ${EIGEN_VERSION}\nCflags: -I${EIGEN_DIR}\n")
endif()

if(WAY STREQUAL pkg-config)
  find_program(PKG_CONFIG NAMES pkg-config pkgconf REQUIRED)
  set(ENV{PKG_CONFIG_PATH} ${WORK_DIR}/prefix/share/pkgconfig)
  execute_process(COMMAND ${PKG_CONFIG} --cflags --libs "seqbayes >= 0.1" OUTPUT_VARIABLE flags
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(EIGEN_VERSION)
    return()
  endif()
  separate_arguments(flags UNIX_COMMAND "${flags}")
  execute_process(COMMAND ${PKG_CONFIG} --modversion seqbayes OUTPUT_VARIABLE version
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  run(${CXX} -std=c++20 -DPACKAGE_VERSION="${version}" ${consumer}/main.cpp ${flags}
      -o ${WORK_DIR}/consumer)
  run(${WORK_DIR}/consumer)
  return()
endif()

set(where -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix)
if(WAY STREQUAL FetchContent)
  list(APPEND where -DSEQBAYES_SOURCE=${SOURCE_DIR})
endif()
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${consumer} -B ${WORK_DIR}/build
    -DCMAKE_CXX_COMPILER=${CXX} ${where})
if(EIGEN_VERSION)
  return() # the headers are the same
endif()
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/consumer)
