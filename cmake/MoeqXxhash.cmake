# Finds xxhash.h, version 0.8 or newer, and makes the target moeq_xxhash out of it. The header is all that is used: nothing
# is linked, and nothing of it is installed.

set(MOEQ_XXHASH_INCLUDE_DIR "" CACHE PATH "Folder that holds xxhash.h, 0.8 or newer")

# It is the same for every processor, so one that a cross compiler would not look for will do.
find_path(moeq_xxhash_found xxhash.h HINTS "${MOEQ_XXHASH_INCLUDE_DIR}" NO_CMAKE_FIND_ROOT_PATH NO_CACHE)
set(moeq_xxhash_advice
    "moeq needs xxhash.h, version 0.8 or newer. Either of these will do:\n"
    "  apt-get install libxxhash-dev         (elsewhere: xxhash-devel, xxhash; tools/setup.sh does it)\n"
    "  -DMOEQ_XXHASH_INCLUDE_DIR=DIR         (the folder that holds xxhash.h)")
string(CONCAT moeq_xxhash_advice ${moeq_xxhash_advice})
if(NOT moeq_xxhash_found)
    message(FATAL_ERROR "No xxhash.h found.\n${moeq_xxhash_advice}")
endif()

cmake_path(SET moeq_xxhash_header NORMALIZE "${moeq_xxhash_found}/xxhash.h")
file(STRINGS "${moeq_xxhash_header}" moeq_xxhash_lines REGEX "^#define XXH_VERSION_(MAJOR|MINOR|RELEASE) +[0-9]+")
string(REGEX MATCHALL "[0-9]+" moeq_xxhash_version "${moeq_xxhash_lines}")
string(REPLACE ";" "." moeq_xxhash_version "${moeq_xxhash_version}")
if(moeq_xxhash_version VERSION_LESS 0.8)
    message(FATAL_ERROR "${moeq_xxhash_header} is version ${moeq_xxhash_version}.\n${moeq_xxhash_advice}")
endif()
message(STATUS "xxHash ${moeq_xxhash_version}: ${moeq_xxhash_header}")

# A folder with this one header, so that no other header beside it gets in the way of the compiler's own.
set(moeq_xxhash_dir "${PROJECT_BINARY_DIR}/include-xxhash")
file(CONFIGURE OUTPUT "${moeq_xxhash_dir}/xxhash.h" CONTENT "#include \"${moeq_xxhash_header}\"\n" @ONLY)
add_library(moeq_xxhash INTERFACE)
target_include_directories(moeq_xxhash SYSTEM INTERFACE "${moeq_xxhash_dir}")
