// Any config.json, header and data as a checkpoint that is opened, looked at, verified and loaded: what the dialects and
// families make of names and sizes from outside. An input is config.json, FF, the JSON of the header, FF, and the first bytes
// of the data; the file is made as long as its tensors want it.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "moeq.h"
#include "store/container/safetensors.h"
#include "support/store.h"

namespace {

constexpr int64_t kLargestFile = int64_t{1} << 40; // with holes
constexpr int64_t kLoaded = 1 << 20;               // checkpoints of so many bytes are read, too

[[noreturn]] void fail(const char* what, const std::string& detail)
{
    std::fprintf(stderr, "%s: %s\n", what, detail.c_str());
    std::abort();
}

// A directory in memory where there is one.
struct Folder {
    Folder()
    {
        const char* const memory = "/dev/shm";
        std::string pattern = std::string(::access(memory, W_OK) == 0 ? memory : "/tmp") + "/moeq-fuzz-XXXXXX";
        path = ::mkdtemp(pattern.data());
    }
    ~Folder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string path;
};

int64_t bytes_that_the_tensors_want(const std::string& file)
{
    moeq_test::CountedMemory memory;
    moeq::store::FileHeader header(memory.allocator);
    moeq_test::Outcome outcome;
    const int64_t endless = INT64_MAX / 2;
    const int64_t size = static_cast<int64_t>(file.size());
    if (moeq::store::parse_header(file.data(), size, endless, 1 << 20, &header, outcome.report) == MOEQ_OK)
        return endless;
    const std::string message = outcome.message();
    const size_t got = message.find(": got ");
    char* end = nullptr;
    const int64_t behind = got == std::string::npos ? 0 : std::strtoll(message.c_str() + got + 6, &end, 10);
    // Names in other messages may have the same words.
    if (end == nullptr || std::strncmp(end, " bytes behind the last tensor", 29) != 0)
        return size;
    return endless - behind;
}

bool write_folder(const std::string& path, const std::string& input)
{
    const size_t first = input.find('\xFF');
    const size_t second = first == std::string::npos ? first : input.find('\xFF', first + 1);
    const bool has_config = first != std::string::npos && first != 0;
    const std::string header = first == std::string::npos ? input : input.substr(first + 1, second - first - 1);
    const std::string data = second == std::string::npos ? "" : input.substr(second + 1);
    const std::string config_path = path + "/config.json", file_path = path + "/model.safetensors";
    std::filesystem::remove(config_path);
    if (has_config)
        std::ofstream(config_path, std::ios::binary) << input.substr(0, first);
    std::string file = moeq_test::container(header);
    const int64_t wanted = bytes_that_the_tensors_want(file);
    if (wanted > kLargestFile)
        return false;
    file += data.substr(0, static_cast<size_t>(std::max<int64_t>(0, wanted - static_cast<int64_t>(file.size()))));
    std::ofstream(file_path, std::ios::binary) << file;
    return ::truncate(file_path.c_str(), wanted) == 0;
}

void demand_allowed(moeq_status status, const moeq_error& error, const char* call)
{
    switch (status) {
    case MOEQ_OK:
    case MOEQ_ERROR_FORMAT:
    case MOEQ_ERROR_TRUNCATED:
    case MOEQ_ERROR_UNSUPPORTED:
    case MOEQ_ERROR_LIMIT:
    case MOEQ_ERROR_VERSION: // of a dialect
        return;
    default:
        fail(call, std::string(moeq_status_name(status)) + ": " + error.message);
    }
}

void look(const moeq_reader* reader, const moeq_reader_info& info)
{
    moeq_error error;
    for (int64_t i = 0; i < std::min<int64_t>(info.tensor_count, 200); ++i) {
        moeq_tensor_info tensor = {};
        tensor.struct_size = sizeof tensor;
        if (moeq_reader_get_tensor(reader, i, &tensor, &error) != MOEQ_OK)
            fail("moeq_reader_get_tensor", error.message);
        int64_t found = -1, stack = -1;
        if (moeq_reader_find(reader, tensor.name, &found, &stack, &error) != MOEQ_OK || found != i)
            fail("a tensor is not found by its name", tensor.name);
        if (tensor.stack < -1 || tensor.stack >= info.stack_count)
            fail("a tensor is in a stack that is not there", tensor.name);
    }
    moeq_blob* blob = nullptr;
    if (moeq_reader_metadata(reader, &blob, &error) != MOEQ_OK)
        fail("moeq_reader_metadata", error.message);
    moeq_blob_destroy(blob);
}

void load(const moeq_reader* reader, const moeq_reader_info& info)
{
    moeq_error error;
    moeq_blob* report = nullptr;
    demand_allowed(moeq_reader_verify(reader, nullptr, nullptr, &report, &error), error, "moeq_reader_verify");
    moeq_blob_destroy(report);
    for (int64_t i = 0; i < std::min<int64_t>(info.stack_count, 8); ++i) {
        moeq_stack_info stack = {};
        stack.struct_size = sizeof stack;
        if (moeq_reader_get_stack(reader, i, &stack, &error) != MOEQ_OK)
            fail("moeq_reader_get_stack", error.message);
        moeq_spec spec = {};
        spec.struct_size = sizeof spec;
        const moeq_status has_spec = moeq_reader_get_stack_spec(reader, i, &spec, &error);
        if (has_spec != (stack.quantized != 0 ? MOEQ_OK : MOEQ_ERROR_STATE))
            fail("moeq_reader_get_stack_spec", error.message);
        if (stack.quantized == 0) {
            if (moeq_spec_parse("int8", &spec, &error) != MOEQ_OK)
                fail("moeq_spec_parse", error.message);
            spec.layout = stack.layout;
            spec.scale_axis = stack.scale_axis;
        }
        moeq_load_options options = {};
        options.struct_size = sizeof options;
        options.spec = stack.quantized != 0 ? nullptr : &spec;
        moeq_qtensor* loaded = nullptr;
        const moeq_status status = moeq_reader_load(reader, i, &options, nullptr, &loaded, &error);
        // Besides: experts that are missing, and values and scales that are no good.
        if (status != MOEQ_ERROR_INCOMPLETE && status != MOEQ_ERROR_VALUE)
            demand_allowed(status, error, "moeq_reader_load");
        moeq_qtensor_release(loaded);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    static const Folder folder;
    static const moeq_context* const context = [] {
        moeq_context_options options = {};
        options.struct_size = sizeof options;
        options.thread_limit = 1;
        moeq_context* made = nullptr;
        moeq_error error;
        if (moeq_context_create(&options, &made, &error) != MOEQ_OK)
            fail("moeq_context_create", error.message);
        return made;
    }();
    if (!write_folder(folder.path, std::string(reinterpret_cast<const char*>(data), size)))
        return 0;
    moeq_error error;
    moeq_reader* reader = nullptr;
    const moeq_status status = moeq_reader_open(context, folder.path.c_str(), nullptr, &reader, &error);
    demand_allowed(status, error, "moeq_reader_open");
    if (status != MOEQ_OK)
        return 0;
    moeq_reader_info info = {};
    info.struct_size = sizeof info;
    if (moeq_reader_get_info(reader, &info, &error) != MOEQ_OK)
        fail("moeq_reader_get_info", error.message);
    look(reader, info);
    if (info.bytes <= kLoaded)
        load(reader, info);
    moeq_reader_destroy(reader);
    return 0;
}
