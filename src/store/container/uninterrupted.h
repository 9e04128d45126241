// System calls that a signal may cut short, as it may on network file systems.
#pragma once

#include <cerrno>

namespace moeq::store {

// The result of `call`, which is made again for as long as it ends with EINTR.
template <class Call>
auto uninterrupted(Call&& call) -> decltype(call())
{
    for (;;) {
        const auto result = call();
        if (result >= 0 || errno != EINTR)
            return result;
    }
}

} // namespace moeq::store
