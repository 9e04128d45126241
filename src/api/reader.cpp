// An open checkpoint: the entry points; src/store/ does the work.
#include "api/reader.h"
#include "api/arguments.h"

#include <cstring>

#include "api/blob.h"
#include "api/boundary.h"
#include "store/dialects/describe.h"
#include "store/dialects/recognise.h"
#include "store/verify/verify.h"

namespace moeq {

void ReaderFiles::release()
{
    if (references.fetch_sub(1, std::memory_order_acq_rel) != 1)
        return;
    const moeq_context* owner = context;
    destroy(owner->allocator, this);
    owner->release();
}

} // namespace moeq

using namespace moeq;
using namespace moeq::store;

namespace {

void reader_free(moeq_reader* reader)
{
    ReaderFiles* files = reader->files;
    files->context->retain(); // until the reader's own memory has gone back
    const moeq_context* context = files->context;
    destroy(context->allocator, reader);
    files->release();
    context->release();
}

moeq_status read_options(const moeq_reader_options* given, moeq_reader_options* out, Report& report)
{
    MOEQ_TRY(read_struct(given, out, arg::reader_open::options, report));
    constexpr int32_t kKnown = MOEQ_READER_MMAP | MOEQ_READER_LENIENT | MOEQ_READER_ALL_FILES | MOEQ_READER_STRICT;
    if ((out->flags & ~kKnown) != 0)
        return (report.fail(MOEQ_ERROR_ARGUMENT, arg::reader_open::options.field("options.flags")) << "got ")
                   .hex(static_cast<uint32_t>(out->flags))
               << "; want MOEQ_READER_ flags";
    if (out->header_limit < 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::reader_open::options.field("options.header_limit"))
               << "got " << out->header_limit << "; want 0 (the default of " << kHeaderLimit << ") or more bytes";
    return MOEQ_OK;
}

moeq_status check_index(int64_t index, int64_t count, const Argument& argument, Report& report)
{
    if (index >= 0 && index < count)
        return MOEQ_OK;
    Failure failure = report.fail(MOEQ_ERROR_RANGE, argument);
    failure << "got " << index;
    return count == 0 ? failure << "; the checkpoint has none" : failure << "; want 0 to " << count - 1;
}

} // namespace

extern "C" moeq_status moeq_reader_open(const moeq_context* context, const char* path,
                                        const moeq_reader_options* options, moeq_reader** out, moeq_error* err)
{
    return guarded("moeq_reader_open", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::reader_open::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::reader_open::context, report));
        MOEQ_TRY(check_not_null(path, arg::reader_open::path, report));
        moeq_reader_options known;
        MOEQ_TRY(read_options(options, &known, report));
        auto* files = create<ReaderFiles>(context->allocator, *context);
        if (files == nullptr)
            return report.out_of_memory(sizeof(ReaderFiles));
        auto* reader = create<moeq_reader>(context->allocator, files, known.flags);
        if (reader == nullptr) {
            files->release();
            return report.out_of_memory(sizeof(moeq_reader));
        }
        const int64_t limit = known.header_limit == 0 ? kHeaderLimit : known.header_limit;
        const bool map = (known.flags & MOEQ_READER_MMAP) != 0;
        const FileRules rules{.all = (known.flags & MOEQ_READER_ALL_FILES) != 0,
                              .strict = (known.flags & MOEQ_READER_STRICT) != 0};
        moeq_status status = files->checkpoint.open(path, limit, map, report, rules);
        if (status == MOEQ_OK)
            status = recognise_weights(files->checkpoint, known.patterns, arg::reader_open::options.number,
                                       &reader->weights, report);
        if (status != MOEQ_OK) {
            reader_free(reader);
            return status;
        }
        *out = reader;
        return MOEQ_OK;
    });
}

extern "C" void moeq_reader_destroy(moeq_reader* reader)
{
    if (reader != nullptr && LiveHandle::is_alive(reader))
        reader_free(reader);
}

extern "C" moeq_status moeq_reader_get_info(const moeq_reader* reader, moeq_reader_info* out, moeq_error* err)
{
    return guarded("moeq_reader_get_info", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(reader, arg::reader_get_info::reader, report));
        MOEQ_TRY(check_not_null(out, arg::reader_get_info::out, report));
        MOEQ_TRY(check_struct_size<moeq_reader_info>(out->struct_size, arg::reader_get_info::out, report));
        const Checkpoint& checkpoint = reader->files->checkpoint;
        moeq_reader_info info{};
        info.dialect = reader->weights.dialect;
        info.tensor_count = checkpoint.tensor_count();
        info.stack_count = reader->weights.stacks.size();
        info.file_count = checkpoint.file_count();
        info.bytes = checkpoint.bytes();
        write_struct(info, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reader_get_tensor(const moeq_reader* reader, int64_t tensor, moeq_tensor_info* out,
                                              moeq_error* err)
{
    return guarded("moeq_reader_get_tensor", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(reader, arg::reader_get_tensor::reader, report));
        const Checkpoint& checkpoint = reader->files->checkpoint;
        MOEQ_TRY(check_index(tensor, checkpoint.tensor_count(), arg::reader_get_tensor::tensor, report));
        MOEQ_TRY(check_not_null(out, arg::reader_get_tensor::out, report));
        MOEQ_TRY(check_struct_size<moeq_tensor_info>(out->struct_size, arg::reader_get_tensor::out, report));
        const CheckpointTensor& at = checkpoint.tensor(tensor);
        const Weights& weights = reader->weights;
        moeq_tensor_info info{};
        info.dtype = at.entry.dtype;
        info.ndim = at.entry.ndim;
        info.component = weights.component_of[tensor];
        for (int32_t i = 0; i < at.entry.ndim; ++i)
            info.shape[i] = at.entry.shape[i];
        info.name = at.entry.name;
        info.bytes = at.entry.bytes;
        info.file = at.file;
        info.stack = -1;
        const int64_t index = weights.weight_of[tensor];
        if (index >= 0) {
            const Weight& weight = weights.weights[index];
            info.stack = weight.stack;
            info.expert = weight.expert;
            info.row = weight.row;
            info.column = weight.column;
            info.experts = weight.stack < 0 ? 0 : weight.ndim > 2 ? weights.stacks[weight.stack].shape[0] : 1;
        }
        write_struct(info, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reader_get_stack(const moeq_reader* reader, int64_t stack, moeq_stack_info* out,
                                             moeq_error* err)
{
    return guarded("moeq_reader_get_stack", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(reader, arg::reader_get_stack::reader, report));
        MOEQ_TRY(check_index(stack, reader->weights.stacks.size(), arg::reader_get_stack::stack, report));
        MOEQ_TRY(check_not_null(out, arg::reader_get_stack::out, report));
        MOEQ_TRY(check_struct_size<moeq_stack_info>(out->struct_size, arg::reader_get_stack::out, report));
        const Stack& at = reader->weights.stacks[stack];
        moeq_stack_info info{};
        info.dtype = at.dtype;
        info.layout = at.layout;
        info.scale_axis = at.scale_axis;
        info.quantized = at.quantized ? 1 : 0;
        info.fused = at.fused ? 1 : 0;
        info.name = at.name;
        for (int32_t i = 0; i < 3; ++i)
            info.shape[i] = at.shape[i];
        info.bytes = at.bytes;
        write_struct(info, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reader_get_stack_spec(const moeq_reader* reader, int64_t stack, moeq_spec* out,
                                                  moeq_error* err)
{
    return guarded("moeq_reader_get_stack_spec", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(reader, arg::reader_get_stack_spec::reader, report));
        MOEQ_TRY(check_index(stack, reader->weights.stacks.size(), arg::reader_get_stack_spec::stack, report));
        MOEQ_TRY(check_not_null(out, arg::reader_get_stack_spec::out, report));
        MOEQ_TRY(check_struct_size<moeq_spec>(out->struct_size, arg::reader_get_stack_spec::out, report));
        const Stack& at = reader->weights.stacks[stack];
        if (!at.quantized)
            return (report.fail(MOEQ_ERROR_STATE, arg::reader_get_stack_spec::stack) << "got ").quoted(at.name)
                   << ", which is dense; want one that is quantized";
        write_struct(at.spec, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reader_find(const moeq_reader* reader, const char* name, int64_t* out_tensor,
                                        int64_t* out_stack, moeq_error* err)
{
    return guarded("moeq_reader_find", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(reader, arg::reader_find::reader, report));
        MOEQ_TRY(check_not_null(name, arg::reader_find::name, report));
        MOEQ_TRY(check_not_null(out_tensor, arg::reader_find::out_tensor, report));
        MOEQ_TRY(check_not_null(out_stack, arg::reader_find::out_stack, report));
        const int64_t length = static_cast<int64_t>(strnlen(name, kNameLimit + 1));
        *out_tensor = reader->files->checkpoint.find(name, length);
        *out_stack = reader->weights.find_stack(name, length);
        if (*out_tensor >= 0 || *out_stack >= 0)
            return MOEQ_OK;
        return (report.fail(MOEQ_ERROR_NOT_FOUND, arg::reader_find::name) << "got ").quoted(name)
               << "; the checkpoint has no tensor and no stack of that name";
    });
}

extern "C" moeq_status moeq_reader_metadata(const moeq_reader* reader, moeq_blob** out, moeq_error* err)
{
    return guarded("moeq_reader_metadata", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::reader_metadata::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(reader, arg::reader_metadata::reader, report));
        Array<char> text(reader->files->context->allocator);
        MOEQ_TRY(describe_checkpoint(reader->files->checkpoint, reader->weights, &text, report));
        return blob_create(*reader->files->context, text.data(), text.size(), out, report);
    });
}

extern "C" moeq_status moeq_reader_verify(const moeq_reader* reader, moeq_progress_fn progress, void* user,
                                          moeq_blob** out, moeq_error* err)
{
    return guarded("moeq_reader_verify", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::reader_verify::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(reader, arg::reader_verify::reader, report));
        const moeq_context& context = *reader->files->context;
        const Checkpoint& checkpoint = reader->files->checkpoint;
        Progress told(progress, user, checkpoint.bytes());
        Array<char> text(context.allocator);
        MOEQ_TRY(
            verify_checkpoint(context.engine, context.allocator, checkpoint, reader->weights, told, &text, report));
        MOEQ_TRY(told.finish(report));
        return blob_create(context, text.data(), text.size(), out, report);
    });
}
