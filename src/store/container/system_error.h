// What the operating system's error numbers mean, in words, for messages.
#pragma once

#include "core/report.h"

namespace moeq::store {

// "EACCES: no permission"; of a number that is not in the table "a system call failed".
const char* system_error_text(int code);
// Ends a message: ", errno 13 (EACCES: no permission)", and notes the number.
moeq_status end_with_system_error(Failure& failure, int code, Report& report);

} // namespace moeq::store
