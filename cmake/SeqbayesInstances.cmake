# seqbayes::instances: scans and gradients of the named layers, compiled once with the flags of the
# project that links it, and only if one does (see seqbayes/instances.hpp).
set(seqbayes_instances)
foreach(layers GRID FAMILY)
  foreach(scalar float double)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/seqbayes/instances_${layers}_${scalar}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT
         "#include <seqbayes/instances.hpp>\nSEQBAYES_${layers}_INSTANCES(template, ${scalar})\n")
    list(APPEND seqbayes_instances ${source})
  endforeach()
endforeach()
add_library(seqbayes_instances STATIC EXCLUDE_FROM_ALL ${seqbayes_instances})
add_library(seqbayes::instances ALIAS seqbayes_instances)
target_link_libraries(seqbayes_instances PUBLIC seqbayes::seqbayes)
target_compile_definitions(seqbayes_instances INTERFACE SEQBAYES_HAS_INSTANCES)
set_target_properties(seqbayes_instances PROPERTIES UNITY_BUILD OFF) # each takes 1 to 2 GB
