// malloc and its kin of this program, which libmoeq.so gets too: one thread's calls can be counted and made to fail.
#pragma once

#include <cstdint>

namespace moeq_test {

// False under sanitizers, which bring a malloc of their own.
bool malloc_is_watched();

// From now on the calling thread's allocations are counted from 0 (and fail); until unwatch.
void watch_malloc(bool failing);
int64_t unwatch_malloc(); // how many there were

} // namespace moeq_test
