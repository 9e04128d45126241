// One checkpoint file being written: the entry points; src/store/ does the work.
#include <fcntl.h>

#include "api/arguments.h"
#include "api/boundary.h"
#include "api/context.h"
#include "api/qtensor.h"
#include "api/spec.h"
#include "store/write/safetensors_writer.h"

using namespace moeq;
using namespace moeq::store;

struct moeq_writer : LiveHandle {
    explicit moeq_writer(const moeq_context& of) : context(&of), file(of.allocator) { of.retain(); }

    const moeq_context* context;
    SafetensorsWriter file;
};

namespace {

void writer_free(moeq_writer* writer)
{
    const moeq_context* context = writer->context;
    destroy(context->allocator, writer);
    context->release();
}

moeq_status read_writer_options(const moeq_writer_options* given, moeq_writer_options* out, const Dialect** out_dialect,
                                Report& report)
{
    MOEQ_TRY(read_struct(given, out, arg::writer_create::options, report));
    *out_dialect = find_dialect(out->dialect);
    if (*out_dialect == nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::writer_create::options.field("options.dialect"))
               << "got " << out->dialect << "; want a MOEQ_DIALECT_ constant, but not NONE";
    if ((out->flags & ~MOEQ_WRITER_NOT_DURABLE) != 0)
        return (report.fail(MOEQ_ERROR_ARGUMENT, arg::writer_create::options.field("options.flags")) << "got ")
                   .hex(static_cast<uint32_t>(out->flags))
               << "; want 0 or MOEQ_WRITER_NOT_DURABLE";
    return check_zero(out->reserved, "reserved", arg::writer_create::options, report);
}

} // namespace

extern "C" moeq_status moeq_writer_create(const moeq_context* context, const char* path,
                                          const moeq_writer_options* options, moeq_writer** out, moeq_error* err)
{
    return guarded("moeq_writer_create", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::writer_create::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::writer_create::context, report));
        MOEQ_TRY(check_not_null(path, arg::writer_create::path, report));
        moeq_writer_options known;
        const Dialect* dialect = nullptr;
        MOEQ_TRY(read_writer_options(options, &known, &dialect, report));
        auto* writer = create<moeq_writer>(context->allocator, *context);
        if (writer == nullptr)
            return report.out_of_memory(sizeof(moeq_writer));
        writer->file.skip_digest();
        const bool durable = (known.flags & MOEQ_WRITER_NOT_DURABLE) == 0;
        const moeq_status status = writer->file.create(AT_FDCWD, path, *dialect, known.metadata, durable, report);
        if (status != MOEQ_OK) {
            writer_free(writer);
            return status;
        }
        *out = writer;
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_writer_declare(moeq_writer* writer, const char* name, const moeq_spec* spec, int32_t dtype,
                                           int32_t ndim, const int64_t* shape, moeq_error* err)
{
    return guarded("moeq_writer_declare", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(writer, arg::writer_declare::writer, report));
        MOEQ_TRY(check_not_null(name, arg::writer_declare::name, report));
        if (spec == nullptr)
            return writer->file.declare(name, dtype, ndim, shape, report);
        moeq_spec known;
        Geometry geometry;
        MOEQ_TRY(read_struct(spec, &known, arg::writer_declare::spec, report));
        MOEQ_TRY(make_geometry(known, arg::writer_declare::spec, ndim, shape, arg::writer_declare::shape, &geometry,
                               report));
        return writer->file.declare_weight(name, geometry, report);
    });
}

extern "C" moeq_status moeq_writer_put(moeq_writer* writer, const char* name, const DLManagedTensorVersioned* tensor,
                                       void* stream, moeq_error* err)
{
    return guarded("moeq_writer_put", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(writer, arg::writer_put::writer, report));
        MOEQ_TRY(check_not_null(name, arg::writer_put::name, report));
        TensorView view;
        const Wanted wanted{.argument = arg::writer_put::tensor, .dtypes = kSetStored, .where = Where::kAnyDevice};
        MOEQ_TRY(accept_tensor(tensor, wanted, &view, report));
        OpenCall open;
        MOEQ_TRY(open_call(*writer->context, view.device(), wanted, stream, arg::writer_put::stream, &open, report));
        HostCopy here(open);
        MOEQ_TRY(here.fetch(wanted, &view, report));
        return writer->file.put_tensor(name, view, report);
    });
}

namespace {

// The components brought to the host, all at once: a file has them in an order of its own.
moeq_status put_from_device(moeq_writer& writer, const char* name, const OpenCall& open, const EncodedWeight& weight,
                            Report& report)
{
    EncodedWeight here;
    const uint64_t bytes = static_cast<uint64_t>(here.lay_out(weight.geometry));
    Allocator& allocator = writer.context->allocator;
    void* memory = allocator.allocate(bytes);
    if (memory == nullptr)
        return report.out_of_memory(bytes);
    here.place(memory);
    moeq_status status = copy_components(open, weight, here, report);
    if (status == MOEQ_OK)
        status = writer.file.put_weight(name, here, report);
    allocator.free(memory, bytes);
    return status;
}

} // namespace

extern "C" moeq_status moeq_writer_put_qtensor(moeq_writer* writer, const char* name, const moeq_qtensor* qtensor,
                                               void* stream, moeq_error* err)
{
    return guarded("moeq_writer_put_qtensor", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(writer, arg::writer_put_qtensor::writer, report));
        MOEQ_TRY(check_not_null(name, arg::writer_put_qtensor::name, report));
        MOEQ_TRY(check_handle(qtensor, arg::writer_put_qtensor::qtensor, report));
        OpenCall open;
        MOEQ_TRY(open_call(*writer->context, qtensor->storage->device, {arg::writer_put_qtensor::qtensor, 0}, stream,
                           arg::writer_put_qtensor::stream, &open, report));
        if (open.call.device.on_host())
            return writer->file.put_weight(name, qtensor->weight, report);
        return put_from_device(*writer, name, open, qtensor->weight, report);
    });
}

extern "C" moeq_status moeq_writer_commit(moeq_writer* writer, moeq_error* err)
{
    return guarded("moeq_writer_commit", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(writer, arg::writer_commit::writer, report));
        return writer->file.commit(report);
    });
}

extern "C" void moeq_writer_destroy(moeq_writer* writer)
{
    if (writer != nullptr && LiveHandle::is_alive(writer))
        writer_free(writer);
}
