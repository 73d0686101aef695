# Install rules: headers, CMake package and pkg-config file. All of it is independent of the
# architecture and relocatable, so it goes to share/.
include(CMakePackageConfigHelpers)

set(seqbayes_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/seqbayes)
set(seqbayes_pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/seqbayesConfig.cmake.in ${PROJECT_BINARY_DIR}/seqbayesConfig.cmake
  INSTALL_DESTINATION ${seqbayes_package_dir}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/seqbayesConfigVersion.cmake
  COMPATIBILITY SameMinorVersion # before 1.0 a minor version may break the interface
  ARCH_INDEPENDENT)

# pcfiledir is where pkg-config found the file: the prefix is as many folders above it.
file(RELATIVE_PATH seqbayes_prefix_from_pkgconfig
     ${CMAKE_INSTALL_PREFIX}/${seqbayes_pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/seqbayes.pc.in ${PROJECT_BINARY_DIR}/seqbayes.pc @ONLY)

install(TARGETS seqbayes EXPORT seqbayesTargets)
install(EXPORT seqbayesTargets NAMESPACE seqbayes:: DESTINATION ${seqbayes_package_dir})
install(DIRECTORY include/seqbayes DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN *.hpp)
install(FILES ${PROJECT_BINARY_DIR}/seqbayesConfig.cmake
              ${CMAKE_CURRENT_LIST_DIR}/SeqbayesInstances.cmake
              ${PROJECT_BINARY_DIR}/seqbayesConfigVersion.cmake
        DESTINATION ${seqbayes_package_dir})
install(FILES ${PROJECT_BINARY_DIR}/seqbayes.pc DESTINATION ${seqbayes_pkgconfig_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
