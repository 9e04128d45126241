# Finds dlpack/dlpack.h of version 1.1 or newer and makes the target moeq_dlpack out of it. Only moeq's own sources see
# it: moeq.h does with a forward declaration. Looked for in this order: the path given, the CMake package, the wheel
# apache-tvm-ffi of the Python in use.

set(moeq_dlpack_dir "${MOEQ_DLPACK_INCLUDE_DIR}")
set(moeq_dlpack_from "MOEQ_DLPACK_INCLUDE_DIR")

if(NOT moeq_dlpack_dir)
    find_package(dlpack CONFIG QUIET)
    if(dlpack_FOUND)
        get_target_property(moeq_dlpack_dirs dlpack::dlpack INTERFACE_INCLUDE_DIRECTORIES)
        find_path(moeq_dlpack_package_dir dlpack/dlpack.h PATHS ${moeq_dlpack_dirs} NO_DEFAULT_PATH NO_CACHE)
        if(moeq_dlpack_package_dir)
            set(moeq_dlpack_dir "${moeq_dlpack_package_dir}")
            set(moeq_dlpack_from "CMake package in ${dlpack_DIR}")
        endif()
    endif()
endif()

if(NOT moeq_dlpack_dir AND MOEQ_PYTHON_EXECUTABLE)
    execute_process(
        COMMAND "${MOEQ_PYTHON_EXECUTABLE}" -c
                "from tvm_ffi import libinfo; print(libinfo.find_dlpack_include_path(), end='')"
        OUTPUT_VARIABLE moeq_dlpack_dir
        RESULT_VARIABLE moeq_dlpack_result
        ERROR_QUIET)
    if(moeq_dlpack_result EQUAL 0)
        set(moeq_dlpack_from "wheel apache-tvm-ffi of ${MOEQ_PYTHON_EXECUTABLE}")
    else()
        set(moeq_dlpack_dir "")
    endif()
endif()

set(moeq_dlpack_advice
    "moeq needs dlpack/dlpack.h, version 1.1 or newer. Any one of these will do:\n"
    "  make                                  (sets up everything that is missing)\n"
    "  -DMOEQ_DLPACK_INCLUDE_DIR=DIR         (the folder that holds dlpack/dlpack.h)\n"
    "  -DMOEQ_PYTHON=PYTHON                  (a Python that has the package apache-tvm-ffi)\n"
    "  -Ddlpack_DIR=DIR                      (the CMake package of DLPack)")
string(CONCAT moeq_dlpack_advice ${moeq_dlpack_advice})

set(moeq_dlpack_header "${moeq_dlpack_dir}/dlpack/dlpack.h")
if(NOT moeq_dlpack_dir OR NOT EXISTS "${moeq_dlpack_header}")
    if(MOEQ_DLPACK_INCLUDE_DIR)
        message(FATAL_ERROR "There is no ${moeq_dlpack_header}.\n${moeq_dlpack_advice}")
    endif()
    message(FATAL_ERROR "No DLPack header found.\n${moeq_dlpack_advice}")
endif()

file(STRINGS "${moeq_dlpack_header}" moeq_dlpack_lines REGEX "^#define DLPACK_(MAJOR|MINOR)_VERSION [0-9]+")
string(REGEX MATCH "MAJOR_VERSION ([0-9]+)" unused "${moeq_dlpack_lines}")
set(moeq_dlpack_major "${CMAKE_MATCH_1}")
string(REGEX MATCH "MINOR_VERSION ([0-9]+)" unused "${moeq_dlpack_lines}")
set(moeq_dlpack_minor "${CMAKE_MATCH_1}")
if(NOT moeq_dlpack_major STREQUAL "1" OR NOT moeq_dlpack_minor GREATER_EQUAL 1)
    message(FATAL_ERROR "${moeq_dlpack_header} is DLPack ${moeq_dlpack_major}.${moeq_dlpack_minor}, "
                        "from ${moeq_dlpack_from}.\n${moeq_dlpack_advice}")
endif()
message(STATUS "DLPack ${moeq_dlpack_major}.${moeq_dlpack_minor}: ${moeq_dlpack_from}")

add_library(moeq_dlpack INTERFACE)
target_include_directories(moeq_dlpack SYSTEM INTERFACE "${moeq_dlpack_dir}")
