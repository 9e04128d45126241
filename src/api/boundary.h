// The one guard between callers and the library, and the checks that all entry points share. An entry point reads
//
//     moeq_status moeq_noun_verb(..., moeq_error *err)
//     {
//         return guarded("moeq_noun_verb", err, [&](Report& report) -> moeq_status { ... });
//     }
//
// and inside: arguments are checked, then work is dispatched. Nothing below throws (the library is built without
// exceptions); errno and the floating-point modes are the caller's again when the call returns.
#pragma once

#include <cerrno>
#include <cstring>

#include "abi/struct_sizes.h"
#include "core/float_environment.h"
#include "core/live_handles.h"
#include "core/report.h"

namespace moeq {

template <class Body>
moeq_status guarded(const char* function, moeq_error* err, Body&& body)
{
    const int saved_errno = errno;
    Report report(function, err);
    moeq_status status;
    {
        FloatEnvironment environment;
        status = body(report);
    }
    errno = saved_errno;
    return status;
}

[[nodiscard]] inline moeq_status check_not_null(const void* pointer, const Argument& argument, Report& report)
{
    if (pointer != nullptr)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_ARGUMENT, argument) << "got NULL; want a valid pointer";
}

// A handle of the caller's; debug builds also see whether it is still one.
[[nodiscard]] inline moeq_status check_handle(const void* handle, const Argument& argument, Report& report)
{
    if (handle == nullptr)
        return check_not_null(handle, argument, report);
    if (LiveHandle::is_alive(handle))
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_ARGUMENT, argument)
           << "got a handle that was released, or never was one; want one that is alive";
}

[[nodiscard]] inline moeq_status check_zero(int64_t value, const char* field, const Argument& argument, Report& report)
{
    if (value == 0)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_ARGUMENT, argument) << "got " << field << " " << value << "; want 0";
}

// No struct of any version will be larger. Without this an uninitialised struct_size would make us read, or zero, memory far
// behind the struct.
constexpr uint32_t kStructSizeLimit = 4096;

// The struct_size of a struct of the caller's: VERSION when it is smaller than the first release's, or no size at all.
template <class T>
[[nodiscard]] moeq_status check_struct_size(uint32_t size, const Argument& argument, Report& report)
{
    if (size >= SizedStruct<T>::kMinimum && size <= kStructSizeLimit)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_VERSION, argument)
           << "got struct_size " << size << "; want " << SizedStruct<T>::kMinimum << " to " << kStructSizeLimit
           << "; set it to sizeof(" << SizedStruct<T>::kName << ") and the rest to zero";
}

// A copy of a struct of the caller's, of any version. NULL: all defaults.
template <class T>
[[nodiscard]] moeq_status read_struct(const T* given, T* out, const Argument& argument, Report& report)
{
    std::memset(static_cast<void*>(out), 0, sizeof *out);
    out->struct_size = sizeof *out;
    if (given == nullptr)
        return MOEQ_OK;
    const uint32_t size = given->struct_size;
    MOEQ_TRY(check_struct_size<T>(size, argument, report));
    const char* bytes = reinterpret_cast<const char*>(given);
    for (uint32_t i = sizeof *out; i < size; ++i)
        if (bytes[i] != 0)
            return report.fail(MOEQ_ERROR_VERSION, argument)
                   << "got struct_size " << size << " with a field that this version does not know (byte " << i
                   << "); want zero there; use a newer library";
    std::memcpy(static_cast<void*>(out), given, size < sizeof *out ? size : sizeof *out);
    out->struct_size = sizeof *out;
    return MOEQ_OK;
}

// Fills a struct of the caller's up to its struct_size, which was checked; what is unknown here becomes zero.
template <class T>
void write_struct(const T& value, T* out)
{
    const uint32_t size = out->struct_size;
    const uint32_t known = size < sizeof value ? size : static_cast<uint32_t>(sizeof value);
    std::memcpy(static_cast<void*>(out), &value, known);
    std::memset(reinterpret_cast<char*>(out) + known, 0, size - known);
    out->struct_size = size;
}

} // namespace moeq
