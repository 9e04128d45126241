# Python helps the build and the tests, and the library does without it. Sets MOEQ_PYTHON_EXECUTABLE, empty if there is none.

set(MOEQ_PYTHON_EXECUTABLE "${MOEQ_PYTHON}")
if(NOT MOEQ_PYTHON_EXECUTABLE)
    set(Python3_FIND_VIRTUALENV FIRST)
    find_package(Python3 3.10 COMPONENTS Interpreter QUIET)
    if(Python3_Interpreter_FOUND)
        set(MOEQ_PYTHON_EXECUTABLE "${Python3_EXECUTABLE}")
    endif()
endif()
