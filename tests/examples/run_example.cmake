# Runs an example and compares what it prints with a file, to the letter: the same source gives the same bytes on every machine.
#   cmake -DPROGRAM=... [-DARGUMENT=...] -DEXPECTED=... -P run_example.cmake

execute_process(COMMAND "${PROGRAM}" ${ARGUMENT} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
file(READ "${EXPECTED}" expected)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} ended with ${result}\n${output}${errors}")
endif()
if(NOT output STREQUAL expected)
    message(FATAL_ERROR "${PROGRAM} printed\n${output}${errors}\nand not what is in ${EXPECTED}\n${expected}")
endif()
