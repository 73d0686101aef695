# cmake -D SOURCE_DIR=PATH -P includes.cmake: whether each header includes what it uses of the
# standard library and of Eigen itself, and not by way of another header, which may do without it one
# day. Names in no list below, such as std::get, which several headers declare, are not checked.
cmake_minimum_required(VERSION 3.21)

set(names_of_algorithm
    all_of any_of clamp copy copy_n count_if equal fill fill_n find find_if is_sorted lower_bound max
    max_element min min_element none_of nth_element reverse rotate sort stable_sort transform)
set(names_of_array array)
set(names_of_atomic atomic)
set(names_of_bit bit_cast endian)
set(names_of_cmath
    abs acos ceil cos exp exp2 expm1 fma frexp isfinite isnan ldexp lgamma llround log log1p pow round
    sin sqrt)
set(names_of_concepts constructible_from convertible_to copyable floating_point invocable same_as)
set(names_of_cstddef byte ptrdiff_t size_t)
set(names_of_cstdint int16_t int32_t int64_t int8_t uint16_t uint32_t uint64_t uint8_t)
set(names_of_cstring memcmp memcpy memset)
set(names_of_exception current_exception exception exception_ptr rethrow_exception)
set(names_of_filesystem filesystem)
set(names_of_fstream ifstream ofstream)
set(names_of_functional function invoke less plus)
set(names_of_ios ios streamoff streamsize)
set(names_of_limits numeric_limits)
set(names_of_map map)
set(names_of_memory make_shared make_unique shared_ptr unique_ptr weak_ptr)
set(names_of_mutex lock_guard mutex scoped_lock unique_lock)
set(names_of_new bad_alloc)
set(names_of_numbers numbers)
set(names_of_numeric accumulate iota)
set(names_of_optional nullopt optional)
set(names_of_random mt19937 normal_distribution)
set(names_of_ranges ranges)
set(names_of_set set)
set(names_of_span as_bytes span)
set(names_of_sstream istringstream ostringstream)
set(names_of_stdexcept invalid_argument logic_error runtime_error)
set(names_of_string string to_string)
set(names_of_string_view string_view)
set(names_of_system_error error_code system_error)
set(names_of_thread jthread thread)
set(names_of_tuple apply make_tuple tie tuple)
set(names_of_type_traits
    conditional_t decay_t enable_if_t false_type integral_constant invoke_result_t is_arithmetic_v
    is_base_of_v is_const_v is_convertible_v is_empty_v is_floating_point_v is_lvalue_reference_v
    is_same_v is_trivially_copyable_v remove_const_t remove_cvref_t remove_reference_t true_type
    type_identity type_identity_t)
set(names_of_utility
    as_const declval exchange forward in_range index_sequence make_index_sequence move pair swap)
set(names_of_variant monostate variant visit)
set(names_of_vector vector)

get_cmake_property(variables VARIABLES)
list(FILTER variables INCLUDE REGEX "^names_of_")

file(GLOB_RECURSE headers ${SOURCE_DIR}/include/*.hpp)
if(NOT headers)
  message(FATAL_ERROR "There are no headers in ${SOURCE_DIR}/include")
endif()
foreach(header ${headers})
  file(READ ${header} text)
  string(REGEX REPLACE "//[^\n]*" "" text "${text}")
  foreach(variable ${variables})
    string(REPLACE "names_of_" "" include ${variable})
    list(JOIN ${variable} "|" names)
    if(NOT text MATCHES "#include <${include}>" AND text MATCHES "std::(${names})[^a-z0-9_]")
      message(SEND_ERROR "${header} uses std::${CMAKE_MATCH_1} and doesn't include <${include}>")
    endif()
  endforeach()
  if(text MATCHES "Eigen::" AND NOT text MATCHES "#include <Eigen/")
    message(SEND_ERROR "${header} uses Eigen and doesn't include <Eigen/Core>")
  endif()
endforeach()
