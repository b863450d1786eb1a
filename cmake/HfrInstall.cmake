# Installs the library, its headers, hfreduce::hfreduce for find_package, and hfreduce.pc for pkg-config.
include(CMakePackageConfigHelpers)

install(TARGETS hfreduce EXPORT hfreduce-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                                         FILE_SET HEADERS
                                                         DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hfreduce)
install(EXPORT hfreduce-targets NAMESPACE hfreduce:: DESTINATION ${config_dir})
file(WRITE ${PROJECT_BINARY_DIR}/hfreduce-config.cmake
     "include(\"\${CMAKE_CURRENT_LIST_DIR}/hfreduce-targets.cmake\")\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hfreduce-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hfreduce-config.cmake ${PROJECT_BINARY_DIR}/hfreduce-config-version.cmake
        DESTINATION ${config_dir})
# Relocatable: the prefix is found from where the file lies.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/hfreduce.pc.in ${PROJECT_BINARY_DIR}/hfreduce.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hfreduce.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
