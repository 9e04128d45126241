# What `cmake --install` lays down: the library (component moeq_runtime), and the header with its CMake package and
# pkg-config file (component moeq_development).

include(CMakePackageConfigHelpers)
set(moeq_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/moeq")

install(TARGETS moeq EXPORT moeqTargets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT moeq_runtime NAMELINK_COMPONENT moeq_development)
install(FILES "${PROJECT_SOURCE_DIR}/include/moeq.h"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT moeq_development)
install(EXPORT moeqTargets NAMESPACE moeq:: DESTINATION "${moeq_package_dir}" COMPONENT moeq_development)

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/moeqConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/moeqConfig.cmake" INSTALL_DESTINATION "${moeq_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/moeqConfigVersion.cmake" COMPATIBILITY SameMajorVersion)
install(FILES "${PROJECT_BINARY_DIR}/moeqConfig.cmake" "${PROJECT_BINARY_DIR}/moeqConfigVersion.cmake"
    DESTINATION "${moeq_package_dir}" COMPONENT moeq_development)

# The prefix is written relative to the file, so an installed tree may be moved; absolute folders stay as given.
foreach(dir LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
        set(moeq_pc_${dir} "${CMAKE_INSTALL_${dir}}")
    else()
        set(moeq_pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
    endif()
endforeach()
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(moeq_pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
    file(RELATIVE_PATH moeq_pc_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" moeq_pc_up "${moeq_pc_up}")
    set(moeq_pc_prefix "\${pcfiledir}/${moeq_pc_up}")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/moeq.pc.in" "${PROJECT_BINARY_DIR}/moeq.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/moeq.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT moeq_development)
