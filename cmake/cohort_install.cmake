# Installs the library, its headers, a CMake package and a pkg-config file. Both find everything relative to where they
# are, so that the installed tree can be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cohort)

install(
  TARGETS cohort
  EXPORT cohort-targets
  RUNTIME COMPONENT cohort
  LIBRARY COMPONENT cohort NAMELINK_COMPONENT cohort-dev
  ARCHIVE COMPONENT cohort-dev
  FILE_SET HEADERS COMPONENT cohort-dev
)
install(EXPORT cohort-targets NAMESPACE cohort:: DESTINATION ${package_dir} COMPONENT cohort-dev)

configure_package_config_file(
  cmake/cohort-config.cmake.in ${PROJECT_BINARY_DIR}/cohort-config.cmake INSTALL_DESTINATION ${package_dir}
)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cohort-config-version.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/cohort-config.cmake ${PROJECT_BINARY_DIR}/cohort-config-version.cmake
  DESTINATION ${package_dir}
  COMPONENT cohort-dev
)

# cohort.pc names its prefix relative to its own folder. Only where the library's folder was given as an absolute path,
# which ties the tree to its place anyway, the prefix is absolute too.
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
endif()
set(pc_libdir "\${prefix}")
cmake_path(APPEND pc_libdir "${CMAKE_INSTALL_LIBDIR}")
set(pc_includedir "\${prefix}")
cmake_path(APPEND pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(cmake/cohort.pc.in ${PROJECT_BINARY_DIR}/cohort.pc @ONLY)
install(
  FILES ${PROJECT_BINARY_DIR}/cohort.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  COMPONENT cohort-dev
)

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT cohort-dev)
