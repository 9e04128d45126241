// Calls of the C API as a trial makes them: each may succeed or be refused, and nothing else.
#pragma once

#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "moeq.h"
#include "support/host_tensor.h"

namespace moeq_random {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kMostSeconds = 10;
#else
constexpr double kMostSeconds = 1; // of computing time, which other programs take none of
#endif

template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

struct Release {
    void operator()(moeq_context* handle) const { moeq_context_destroy(handle); }
    void operator()(moeq_reader* handle) const { moeq_reader_destroy(handle); }
    void operator()(moeq_blob* handle) const { moeq_blob_destroy(handle); }
    void operator()(moeq_qtensor* handle) const { moeq_qtensor_release(handle); }
};
using Context = std::unique_ptr<moeq_context, Release>;
using Reader = std::unique_ptr<moeq_reader, Release>;
using QTensor = std::unique_ptr<moeq_qtensor, Release>;

// What is wrong with the library, in words; the first one counts.
struct Problem {
    std::string text;
    bool found() const { return !text.empty(); }
    void tell(const std::string& what)
    {
        if (text.empty())
            text = what;
    }
};

// Makes a call with an error struct, and looks at how it ends: by a status of the documented kind, with a message, in time.
template <class Call>
moeq_status checked(const char* what, Problem& problem, std::string* message, const Call& call)
{
    moeq_error error;
    std::memset(&error, 0, sizeof error);
    const std::clock_t begin = std::clock();
    const moeq_status status = call(&error);
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (seconds > kMostSeconds)
        problem.tell(std::string(what) + " took " + std::to_string(seconds) + " s");
    if (status == MOEQ_ERROR_INTERNAL || status == MOEQ_ERROR_MEMORY)
        problem.tell(std::string(what) + " failed inside: " + error.message);
    if (status != MOEQ_OK && (error.status != status || error.message[0] == '\0'))
        problem.tell(std::string(what) + " left no error");
    if (message != nullptr)
        *message = error.message;
    return status;
}

// The same for calls that have to succeed here.
template <class Call>
bool succeeds(const char* what, Problem& problem, const Call& call)
{
    std::string message;
    if (checked(what, problem, &message, call) == MOEQ_OK)
        return true;
    problem.tell(std::string(what) + ": " + message);
    return false;
}

} // namespace moeq_random
