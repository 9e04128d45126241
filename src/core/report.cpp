#include "core/report.h"

#include <cstring>

namespace moeq {

static_assert(sizeof(moeq_error) == 512, "moeq_error is frozen");

Failure Report::fail(moeq_status status, int32_t argument, const char* name)
{
    if (error_ == nullptr)
        return Failure(*this, status);
    std::memset(error_, 0, sizeof *error_);
    error_->status = status;
    error_->argument = argument;
    error_->expert = error_->row = error_->column = -1;
    length_ = 0;
    Failure failure(*this, status);
    failure << function_ << ": ";
    if (name != nullptr)
        failure << name << ": ";
    return failure;
}

moeq_status Report::out_of_memory(uint64_t bytes)
{
    return fail(MOEQ_ERROR_MEMORY) << "the allocator has no " << bytes << " bytes; free memory or use smaller pieces";
}

moeq_status Report::internal(const char* what)
{
    return fail(MOEQ_ERROR_INTERNAL) << what << "; this is a fault of moeq, please report it";
}

moeq_status Report::take_over(const moeq_error& error)
{
    if (error_ != nullptr) {
        *error_ = error;
        length_ = std::strlen(error.message);
    }
    return error.status;
}

void Report::set_class(const char* class_id)
{
    if (error_ != nullptr)
        Text(error_->class_id, sizeof error_->class_id).add(class_id);
}

void Report::set_place(const Place& place)
{
    if (error_ == nullptr)
        return;
    error_->expert = place.expert;
    error_->row = place.row;
    error_->column = place.column;
}

void Report::set_os_error(int32_t code)
{
    if (error_ != nullptr)
        error_->os_error = code;
}

// Every appended part goes through here: the message stays a whole C string at any moment.
#define MOEQ_APPEND(expression)                                                                                 \
    if (report_.error_ != nullptr) {                                                                            \
        Text text(report_.error_->message + report_.length_, sizeof report_.error_->message - report_.length_); \
        text.expression;                                                                                        \
        report_.length_ += text.size();                                                                         \
    }                                                                                                           \
    return *this

Failure& Failure::operator<<(const char* text_) { MOEQ_APPEND(add(text_)); }
Failure& Failure::operator<<(int64_t value) { MOEQ_APPEND(add(value)); }
Failure& Failure::shape(int32_t ndim, const int64_t* shape) { MOEQ_APPEND(add_shape(ndim, shape)); }
Failure& Failure::quoted(const char* text_) { MOEQ_APPEND(add_quoted(text_)); }
Failure& Failure::hex(uint64_t value) { MOEQ_APPEND(add_hex(value)); }

#undef MOEQ_APPEND

} // namespace moeq
