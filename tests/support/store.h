// What the suites that look inside the store share: calls with their error, containers made by hand, folders that go away.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "core/memory.h"
#include "core/report.h"

namespace moeq_test {

// How much longer things take with the instruments of a sanitizer in them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlower = 10;
#else
constexpr double kSlower = 1;
#endif

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

class TemporaryFolder {
public:
    TemporaryFolder()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "moeq-test-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryFolder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }
    std::string write(const std::string& name, const std::string& bytes) const
    {
        std::ofstream(path(name), std::ios::binary) << bytes;
        return path(name);
    }

private:
    std::string path_;
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
