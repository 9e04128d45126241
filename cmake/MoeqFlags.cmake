# Compiler and linker flags, in interface targets:
#   moeq_warnings      the warnings of our own code (no -Wpedantic: __int128 is wanted; tests/header tries moeq.h with it)
#   moeq_optimisation  the level of a Release build
#   moeq_numerics      what makes every compiler give the same bytes; tests use it too, so that their references agree
#   moeq_core          what the library is compiled with

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    message(FATAL_ERROR "moeq is built with GCC or Clang; this is ${CMAKE_CXX_COMPILER_ID}.")
endif()

add_library(moeq_numerics INTERFACE)
target_compile_options(moeq_numerics INTERFACE -ffp-contract=off -fno-fast-math)

# CMake's Release says -O3, which makes everything but the kernels larger and nothing faster.
add_library(moeq_optimisation INTERFACE)
target_compile_options(moeq_optimisation INTERFACE $<$<CONFIG:Release>:-O2>)

add_library(moeq_warnings INTERFACE)
target_compile_options(moeq_warnings INTERFACE
    -Wall -Wextra -Wundef -Wvla -Wcast-align -Wcast-qual -Wpointer-arith -Wformat=2
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
    $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond> $<$<CXX_COMPILER_ID:GNU>:-Wlogical-op>
    $<$<BOOL:${MOEQ_WERROR}>:-Werror>)

# No C++ runtime inside: no exceptions, no RTTI, no guards, no TLS, so nothing can clash with another copy of it.
add_library(moeq_core INTERFACE)
target_link_libraries(moeq_core INTERFACE moeq_numerics moeq_optimisation moeq_warnings)
target_compile_options(moeq_core INTERFACE
    -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
    -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-semantic-interposition -fno-plt -fno-math-errno
    -fstack-protector-strong -ffunction-sections -fdata-sections
    $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
if(NOT MOEQ_SANITIZE)
    target_compile_options(moeq_core INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
                                               $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()

if(MOEQ_SANITIZE)
    # For everything in the build, tests too. There is no RTTI, so the vptr check has nothing to look at.
    add_compile_options(-fsanitize=${MOEQ_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${MOEQ_SANITIZE})
    # Instrumented, GCC 12 takes parts of the standard library's own containers for uninitialised.
    target_compile_options(moeq_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    if(MOEQ_SANITIZE MATCHES "undefined")
        add_compile_options(-fno-sanitize=vptr)
        if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
            add_compile_options(-fsanitize=local-bounds)
        endif()
    endif()
endif()
