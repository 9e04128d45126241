# The library: moeq_objects is all of src/, moeq is libmoeq.so made of it. Internal unit tests link the objects and so
# see what the shared library hides.

file(GLOB_RECURSE moeq_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/*.cpp")
file(GLOB moeq_avx2_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/cpu/avx2/*.cpp")
file(GLOB moeq_avx512_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/cpu/avx512/*.cpp")
file(GLOB moeq_neon_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/cpu/neon/*.cpp")
if(NOT moeq_sources)
    message(FATAL_ERROR "There are no sources in ${PROJECT_SOURCE_DIR}/src.")
endif()

# Every tier of instructions is a folder with flags of its own; src/cpu/dispatch.cpp chooses among those defined here.
set(moeq_tier_definitions)
set(moeq_avx2_flags -mavx2 -mfma -mf16c)
set(moeq_avx512_flags ${moeq_avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vbmi2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC's own header makes "undefined" vectors by reading uninitialised ones, and then warns of it.
    list(APPEND moeq_avx512_flags -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    list(REMOVE_ITEM moeq_sources ${moeq_neon_sources})
    set_source_files_properties(${moeq_avx2_sources} PROPERTIES COMPILE_OPTIONS "${moeq_avx2_flags}")
    set_source_files_properties(${moeq_avx512_sources} PROPERTIES COMPILE_OPTIONS "${moeq_avx512_flags}")
    if(moeq_avx2_sources)
        list(APPEND moeq_tier_definitions MOEQ_HAVE_AVX2=1)
    endif()
    if(moeq_avx512_sources)
        list(APPEND moeq_tier_definitions MOEQ_HAVE_AVX512=1)
    endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    list(REMOVE_ITEM moeq_sources ${moeq_avx2_sources} ${moeq_avx512_sources})
    if(moeq_neon_sources)
        list(APPEND moeq_tier_definitions MOEQ_HAVE_NEON=1)
    endif()
else()
    list(REMOVE_ITEM moeq_sources ${moeq_avx2_sources} ${moeq_avx512_sources} ${moeq_neon_sources})
endif()

find_package(Threads REQUIRED)

add_library(moeq_objects OBJECT ${moeq_sources})
target_include_directories(moeq_objects PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>")
target_compile_definitions(moeq_objects
    PUBLIC ${moeq_tier_definitions} $<$<BOOL:${MOEQ_DEBUG}>:MOEQ_DEBUG=1>
    PRIVATE MOEQ_BUILDING=1)
target_link_libraries(moeq_objects PUBLIC moeq_dlpack Threads::Threads ${CMAKE_DL_LIBS} m PRIVATE moeq_core moeq_xxhash)
set_target_properties(moeq_objects PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

# Kernels gain from -O3, the rest only grows.
file(GLOB_RECURSE moeq_kernel_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/cpu/*.cpp")
if(moeq_kernel_sources)
    set_property(SOURCE ${moeq_kernel_sources} APPEND PROPERTY COMPILE_OPTIONS "$<$<CONFIG:Release>:-O3>")
endif()

# Linked by the C compiler, and without what CMake adds for C++: a source that uses the C++ runtime then does not link.
set(CMAKE_CXX_IMPLICIT_LINK_LIBRARIES "")
set(moeq_version_script "${PROJECT_SOURCE_DIR}/src/abi/moeq.map")
add_library(moeq SHARED $<TARGET_OBJECTS:moeq_objects>)
add_library(moeq::moeq ALIAS moeq)
target_include_directories(moeq INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(moeq PRIVATE Threads::Threads ${CMAKE_DL_LIBS} m)
target_link_options(moeq PRIVATE
    -static-libgcc
    "LINKER:--version-script=${moeq_version_script}"
    LINKER:--exclude-libs,ALL LINKER:--as-needed LINKER:--gc-sections LINKER:-Bsymbolic
    LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
if(NOT MOEQ_SANITIZE) # whose runtime comes with the program, so that its symbols stay open here
    target_link_options(moeq PRIVATE LINKER:-z,defs)
endif()
set_target_properties(moeq PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${MOEQ_ABI_VERSION} LINKER_LANGUAGE C
    LINK_DEPENDS "${moeq_version_script}")
