// The public way into a file, for suites that have looked at the inner one.
#pragma once

#include <cstring>
#include <string>

#include "moeq.h"

namespace moeq_test {

struct ReaderOutcome {
    moeq_status status;
    std::string class_id;
    std::string message;
    bool made; // a reader, which is gone again
};

inline ReaderOutcome open_reader(const std::string& path, int64_t header_limit, int32_t flags = 0)
{
    moeq_context* context = nullptr;
    moeq_error error;
    std::memset(&error, 0, sizeof error);
    if (moeq_context_create(nullptr, &context, &error) != MOEQ_OK)
        return {error.status, error.class_id, error.message, false};
    moeq_reader_options options = {};
    options.struct_size = sizeof options;
    options.header_limit = header_limit;
    options.flags = flags;
    moeq_reader* reader = nullptr;
    const moeq_status status = moeq_reader_open(context, path.c_str(), &options, &reader, &error);
    const ReaderOutcome outcome = {status, error.class_id, error.message, reader != nullptr};
    moeq_reader_destroy(reader);
    moeq_context_destroy(context);
    return outcome;
}

} // namespace moeq_test
