// What the suites that look inside the store share: calls with their error, containers made by hand.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "core/memory.h"
#include "core/report.h"
#include "support/temporary_folder.h"

namespace moeq_test {

// How much longer things take with the instruments of a sanitizer in them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlower = 10;
#else
constexpr double kSlower = 1;
#endif

// Seconds that this process has computed: other programs on the machine do not count, nor what the kernel takes to find memory,
// which on a virtual machine may be a hundred times as long as the day before.
inline double cpu_seconds()
{
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) / 1e6;
}

// A report with the error that it fills.
struct Outcome {
    moeq_error error = {};
    moeq::Report report{"test", &error};
    std::string class_id() const { return error.class_id; }
    std::string message() const { return error.message; }
};

// An allocator that counts, and that fails from one allocation on, or at that one alone.
struct CountedMemory {
    int64_t calls = 0;
    int64_t fail_at = -1;
    bool fail_once = false;
    moeq::Allocator allocator{allocate, release, this};

    static void* allocate(uint64_t bytes, uint64_t alignment, void* user)
    {
        auto* self = static_cast<CountedMemory*>(user);
        const int64_t call = self->calls++;
        if (self->fail_at >= 0 && (self->fail_once ? call == self->fail_at : call >= self->fail_at))
            return nullptr;
        void* memory = nullptr;
        return posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
    }
    static void release(void* memory, uint64_t, void*) { std::free(memory); }
};

inline std::string length_prefix(uint64_t length)
{
    std::string bytes;
    for (int i = 0; i < 8; ++i)
        bytes += static_cast<char>(length >> 8 * i);
    return bytes;
}

// A file of the container, made by hand: nothing is checked.
inline std::string container(const std::string& header, const std::string& data = "")
{
    return length_prefix(header.size()) + header + data;
}

// One tensor of a header: `"NAME": {...}`.
inline std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape, int64_t begin,
                          int64_t end)
{
    std::ostringstream text;
    text << '"' << name << "\": {\"dtype\": \"" << dtype << "\", \"shape\": " << shape << ", \"data_offsets\": ["
         << begin << ", " << end << "]}";
    return text.str();
}

} // namespace moeq_test
