# Flags for the project's own tests, examples and benchmarks. Users of seqbayes::seqbayes get none
# of them.
include(CheckCXXCompilerFlag)

option(SEQBAYES_WARNINGS_AS_ERRORS "Treat compiler warnings as errors" OFF)
option(SEQBAYES_SANITIZE "Address and undefined behaviour sanitizers" OFF)
option(SEQBAYES_NATIVE "Tune tests and examples for this machine, as the benchmarks are" OFF)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# The widest vectors of this machine; both g++ and clang hold back to 256 bits unless told.
add_library(seqbayes_native INTERFACE)
# g++ 12 warns of its own AVX-512 intrinsics (GCC bug 105593).
target_compile_options(
  seqbayes_native
  INTERFACE "$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized>")
foreach(flag -march=native -mprefer-vector-width=512)
  string(MAKE_C_IDENTIFIER "SEQBAYES_HAVE${flag}" have)
  check_cxx_compiler_flag(${flag} ${have})
  if(${have})
    target_compile_options(seqbayes_native INTERFACE ${flag})
  endif()
endforeach()

set(CMAKE_CXX_EXTENSIONS OFF)

add_library(seqbayes_development INTERFACE)
target_compile_options(
  seqbayes_development
  INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
            # g++ 12 sees what is not there: overlaps in std::string (GCC bug 105329), and packet
            # loops running over fixed-size vectors shorter than a packet, which they never enter,
            # and memory of Eigen's used after a resize has freed it.
            "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-array-bounds;-Wno-use-after-free>"
            # Collecting garbage from the first 100 MB on takes g++ a tenth of the time.
            $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1048576>
            $<$<BOOL:${SEQBAYES_WARNINGS_AS_ERRORS}>:-Werror>)
target_link_libraries(seqbayes_development
                      INTERFACE $<$<BOOL:${SEQBAYES_NATIVE}>:seqbayes_native>)
target_link_libraries(seqbayes_instances PRIVATE seqbayes_development)
if(SEQBAYES_SANITIZE)
  set(flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(seqbayes_development INTERFACE ${flags})
  target_link_options(seqbayes_development INTERFACE ${flags})
endif()
