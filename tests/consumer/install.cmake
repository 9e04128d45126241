# Installs BUILD and moves the result to PREFIX.
set(stage "${PREFIX}.stage")
file(REMOVE_RECURSE "${stage}" "${PREFIX}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --config "${CONFIG}" --prefix "${stage}"
    COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
file(RENAME "${stage}" "${PREFIX}")
