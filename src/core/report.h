// How a call says what went wrong. One Report lives on the stack of each entry point; whatever fails below it fills the
// caller's moeq_error through it, once: the first failure is the one that is told.
#pragma once

#include "core/text.h"
#include "moeq.h"

// Leaves with the status of a step that failed.
#define MOEQ_TRY(expression)                              \
    do {                                                  \
        const moeq_status moeq_try_status = (expression); \
        if (moeq_try_status != MOEQ_OK)                   \
            return moeq_try_status;                       \
    } while (false)

namespace moeq {

// A place in a weight. -1: not known.
struct Place {
    int64_t expert = -1;
    int64_t row = -1;
    int64_t column = -1;
};

// An argument of a function of moeq.h: its place among them, from 1 on, and its name.
struct Argument {
    int32_t number;
    const char* name;

    // A field of what it points to is told under a name of its own.
    constexpr Argument field(const char* path) const { return {number, path}; }
};

class Report;

// A message in the making: "function: argument: got ...; want ...; hint". Converts to the status, so that a function ends
// with `return report.fail(...) << "got " << n;`.
class Failure {
public:
    Failure(Report& report, moeq_status status) : report_(report), status_(status) {}
    operator moeq_status() const { return status_; } // NOLINT: the point of the type

    Failure& operator<<(const char* text);
    Failure& operator<<(int64_t value);
    Failure& operator<<(int32_t value) { return *this << static_cast<int64_t>(value); }
    Failure& operator<<(uint32_t value) { return *this << static_cast<int64_t>(value); }
    Failure& operator<<(uint64_t value) { return *this << static_cast<int64_t>(value); }
    Failure& shape(int32_t ndim, const int64_t* shape);
    Failure& quoted(const char* text);
    Failure& hex(uint64_t value);

private:
    Report& report_;
    moeq_status status_;
};

class Report {
public:
    // function: as in moeq.h. err may be NULL: then only the status is told.
    Report(const char* function, moeq_error* err) : function_(function), error_(err) {}
    Report(const Report&) = delete;
    Report& operator=(const Report&) = delete;

    // argument: 1 for the function's first; 0: none in particular. name: the argument's, NULL with 0.
    Failure fail(moeq_status status, int32_t argument, const char* name);
    Failure fail(moeq_status status, const Argument& argument) { return fail(status, argument.number, argument.name); }
    Failure fail(moeq_status status) { return fail(status, 0, nullptr); }
    // Out of memory: how many bytes were asked for.
    moeq_status out_of_memory(uint64_t bytes);
    moeq_status internal(const char* what);

    // What a task told that ran beside others, with a Report of its own made by `function()`. The status is the error's.
    moeq_status take_over(const moeq_error& error);
    const char* function() const { return function_; }

    void set_class(const char* class_id);
    void set_place(const Place& place);
    void set_os_error(int32_t code);

private:
    friend class Failure;

    const char* function_;
    moeq_error* error_;
    uint64_t length_ = 0; // of the message so far
};

} // namespace moeq
