# seqbayes_torch: what the project's own tests and examples of adapters/torch.hpp link. Where libtorch
# is not found there is no such target, and they are left out.
find_package(Torch QUIET)
if(NOT Torch_FOUND)
  message(STATUS "seqbayes: libtorch (Debian: libtorch-dev) was not found; nothing of it is built")
  return()
endif()

# The layers of Mixer take a minute to compile: once, here. Everybody else sees them declared.
set(seqbayes_torch_dir ${PROJECT_BINARY_DIR}/torch)
set(signature
    "seqbayes::libtorch::detail::run_rule(seqbayes::libtorch::Rule, seqbayes::libtorch::State&, const seqbayes::libtorch::Inputs&)"
)
set(text "#include <seqbayes/adapters/torch/rule.hpp>\n")
set(declarations "#pragma once\n${text}")
foreach(scalar float double)
  string(REPLACE "run_rule(" "run_rule<${scalar}>(" instance "template at::Tensor ${signature};\n")
  string(APPEND text "${instance}")
  string(APPEND declarations "extern ${instance}")
endforeach()
file(CONFIGURE OUTPUT ${seqbayes_torch_dir}/rules.cpp CONTENT "${text}")
file(CONFIGURE OUTPUT ${seqbayes_torch_dir}/rules.hpp CONTENT "${declarations}")

find_package(nlohmann_json REQUIRED)
add_library(seqbayes_torch STATIC ${seqbayes_torch_dir}/rules.cpp)
target_link_libraries(seqbayes_torch PUBLIC seqbayes::instances ${TORCH_LIBRARIES}
                                            nlohmann_json::nlohmann_json)
target_link_libraries(seqbayes_torch PRIVATE seqbayes_development)
target_compile_options(seqbayes_torch INTERFACE -include ${seqbayes_torch_dir}/rules.hpp)
