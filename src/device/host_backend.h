// The host's row of the table of backends.
#pragma once

#include "device/backend.h"

namespace moeq {

extern const Backend kHostBackend;

} // namespace moeq
