#include "api/qtensor.h"
#include "api/arguments.h"

#include <dlpack/dlpack.h>

#include "api/boundary.h"
#include "api/options.h"
#include "api/spec.h"
#include "core/status_word.h"

using namespace moeq;

extern "C" moeq_status moeq_qtensor_adopt(const moeq_context* context, const moeq_spec* spec, int32_t ndim,
                                          const int64_t* shape, const moeq_component* components,
                                          int64_t component_count, void* stream, moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_qtensor_adopt", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::qtensor_adopt::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::qtensor_adopt::context, report));
        MOEQ_TRY(check_not_null(spec, arg::qtensor_adopt::spec, report));
        moeq_spec known;
        Geometry geometry;
        MOEQ_TRY(read_struct(spec, &known, arg::qtensor_adopt::spec, report));
        if (known.logical_dtype == MOEQ_DTYPE_DEFAULT)
            known.logical_dtype = MOEQ_DTYPE_BF16;
        MOEQ_TRY(
            make_geometry(known, arg::qtensor_adopt::spec, ndim, shape, arg::qtensor_adopt::shape, &geometry, report));
        EncodedWeight weight;
        MOEQ_TRY(accept_components(geometry, components, component_count, Access::kRead, arg::qtensor_adopt::components,
                                   &weight, report));
        OpenCall open;
        MOEQ_TRY(open_call(*context, device_of(weight), {arg::qtensor_adopt::components, 0}, stream,
                           arg::qtensor_adopt::stream, &open, report));
        MOEQ_TRY(check_code_map(open, geometry, components, component_count, arg::qtensor_adopt::components, report));
        Storage* storage = nullptr;
        MOEQ_TRY(storage_adopt(*context, open, components, component_count, &storage, report));
        const moeq_status status = qtensor_create(weight, storage, false, out, report);
        if (status != MOEQ_OK)
            storage_disown(storage);
        return status;
    });
}

extern "C" void moeq_qtensor_retain(const moeq_qtensor* qtensor)
{
    if (qtensor != nullptr && LiveHandle::is_alive(qtensor))
        qtensor->references.fetch_add(1, std::memory_order_relaxed);
}

extern "C" void moeq_qtensor_release(const moeq_qtensor* qtensor)
{
    if (qtensor == nullptr || !LiveHandle::is_alive(qtensor) ||
        qtensor->references.fetch_sub(1, std::memory_order_acq_rel) != 1)
        return;
    Storage* storage = qtensor->storage;
    destroy(storage->context->allocator, const_cast<moeq_qtensor*>(qtensor));
    storage->release();
}

extern "C" moeq_status moeq_qtensor_get_info(const moeq_qtensor* qtensor, moeq_qtensor_info* out, moeq_error* err)
{
    return guarded("moeq_qtensor_get_info", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_get_info::qtensor, report));
        MOEQ_TRY(check_not_null(out, arg::qtensor_get_info::out, report));
        MOEQ_TRY(check_struct_size<moeq_qtensor_info>(out->struct_size, arg::qtensor_get_info::out, report));
        const Geometry& g = qtensor->weight.geometry;
        moeq_qtensor_info info{};
        const Storage& storage = *qtensor->storage;
        info.device_type = storage.device.type;
        info.device_id = storage.device.id;
        info.home_stream = storage.home_stream;
        info.ndim = g.ndim;
        for (int32_t i = 0; i < g.ndim; ++i)
            info.shape[i] = g.shape[i];
        info.folded[0] = g.experts;
        info.folded[1] = g.rows;
        info.folded[2] = g.columns;
        info.bytes = stored_bytes(g);
        info.generation = storage.generation.load(std::memory_order_relaxed);
        write_struct(info, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_qtensor_get_spec(const moeq_qtensor* qtensor, moeq_spec* out, moeq_error* err)
{
    return guarded("moeq_qtensor_get_spec", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_get_spec::qtensor, report));
        MOEQ_TRY(check_not_null(out, arg::qtensor_get_spec::out, report));
        MOEQ_TRY(check_struct_size<moeq_spec>(out->struct_size, arg::qtensor_get_spec::out, report));
        write_struct(qtensor->weight.geometry.spec, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_qtensor_export(const moeq_qtensor* qtensor, int32_t component,
                                           DLManagedTensorVersioned** out, moeq_error* err)
{
    return guarded("moeq_qtensor_export", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::qtensor_export::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_export::qtensor, report));
        const EncodedWeight& weight = qtensor->weight;
        TensorView view;
        if (!component_layout(weight.geometry, component, &view))
            return report.fail(MOEQ_ERROR_NOT_FOUND, arg::qtensor_export::component)
                   << "got " << component << " (" << component_name(component) << "); want a component that this "
                   << weight.geometry.format->name << " weight has";
        const int32_t dtype = view.dtype;
        if (component == MOEQ_COMPONENT_CODE_MAP)
            view.data = const_cast<char*>(reinterpret_cast<const char*>(weight.geometry.format->code_map));
        else
            view = weight.component(component);
        view.dtype = dtype;
        view.read_only = true;
        Storage* storage = qtensor->storage;
        storage->retain();
        const auto release = [](void* owner) { static_cast<Storage*>(owner)->release(); };
        const moeq_status status = managed_tensor_create(*storage->context, view, storage, release, out, report);
        if (status != MOEQ_OK)
            storage->release();
        return status;
    });
}

namespace {

// A region of a handle, checked: which experts and which rows. The members without a value are set by
// `select`: clearing all of it is what a small call would wait for.
struct Selection {
    ExpertList experts;
    TensorView ids; // the list's memory, for overlaps
    int64_t row_begin;
    int64_t row_end;
    bool everything;

    int64_t rows() const { return row_end - row_begin; }
};

constexpr Wanted kIds{.argument = arg::qtensor_dequantize::region.field("region.expert_ids"),
                      .dtypes = kSetIds,
                      .where = Where::kAnyDevice};

moeq_status refuse_expert(int64_t expert, int64_t position, const Geometry& g, uint32_t* status_word, Report& report)
{
    see(status_word, MOEQ_SEEN_BAD_EXPERT);
    const moeq_status status = report.fail(MOEQ_ERROR_RANGE, arg::qtensor_dequantize::region)
                               << "got expert " << expert << " at position " << position << "; want 0 to "
                               << g.experts - 1;
    report.set_place({expert, -1, -1});
    return status;
}

TensorView view_of_list(const int64_t* ids, int64_t count)
{
    TensorView view;
    view.data = const_cast<char*>(reinterpret_cast<const char*>(ids));
    view.dtype = MOEQ_DTYPE_INT64;
    view.ndim = 1;
    view.shape[0] = view.count = count;
    set_contiguous_strides(view);
    return view;
}

moeq_status accept_expert_ids(const DLManagedTensorVersioned* ids, ExpertList* out, TensorView* memory, Report& report)
{
    TensorView view;
    MOEQ_TRY(accept_tensor(ids, kIds, &view, report));
    if (view.ndim != 1)
        return report.fail(MOEQ_ERROR_SHAPE, arg::qtensor_dequantize::region.field("region.expert_ids"))
               << "got " << view.ndim << " dimensions; want 1";
    static const char kEmpty = 0;
    out->tensor = view.empty() ? &kEmpty : view.data;
    out->tensor_stride = view.strides[0] * view.itemsize();
    out->wide = view.dtype == MOEQ_DTYPE_INT64;
    out->count = view.count;
    *memory = view;
    return MOEQ_OK;
}

// out: set where the result is OK.
moeq_status select(const moeq_region& region, const Geometry& g, Selection* out, Report& report)
{
    Selection& s = *out;
    if (region.experts != nullptr && region.expert_ids != nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::qtensor_dequantize::region)
               << "got experts and expert_ids; want one of them";
    if (region.expert_count < 0 || (region.experts == nullptr && region.expert_count != 0))
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::qtensor_dequantize::region)
               << "got expert_count " << region.expert_count << (region.experts == nullptr ? " without experts" : "")
               << "; want the length of experts";
    if (region.stores < MOEQ_STORES_AUTO || region.stores > MOEQ_STORES_STREAMED)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::qtensor_dequantize::region)
               << "got stores " << region.stores << "; want a MOEQ_STORES_ constant";
    s.experts.ids = region.experts;
    s.experts.count = region.experts != nullptr ? region.expert_count : g.experts;
    if (region.experts != nullptr)
        s.ids = view_of_list(region.experts, region.expert_count);
    if (region.expert_ids != nullptr)
        MOEQ_TRY(accept_expert_ids(region.expert_ids, &s.experts, &s.ids, report));
    // Ids on a device are the backend's to look at.
    const bool readable = region.experts != nullptr || (region.expert_ids != nullptr && s.ids.device().on_host());
    for (int64_t i = 0; readable && i < s.experts.count; ++i)
        if (s.experts[i] < 0 || s.experts[i] >= g.experts)
            return refuse_expert(s.experts[i], i, g, region.status_word, report);
    s.row_begin = region.row_begin;
    s.row_end = region.row_end == 0 ? g.rows : region.row_end;
    if (s.row_begin < 0 || s.row_begin > s.row_end || s.row_end > g.rows) {
        const moeq_status status = report.fail(MOEQ_ERROR_RANGE, arg::qtensor_dequantize::region)
                                   << "got rows [" << region.row_begin << ", " << region.row_end
                                   << "); want a range inside [0, " << g.rows << ")";
        report.set_place({-1, region.row_begin, -1});
        return status;
    }
    s.everything = region.experts == nullptr && region.expert_ids == nullptr && s.rows() == g.rows;
    return MOEQ_OK;
}

// [n, rows, C]; [rows, C] where n is 1; and the weight's own shape for all of it.
moeq_status check_destination_shape(const TensorView& destination, const Selection& s, const Geometry& g,
                                    const Wanted& wanted, Report& report)
{
    const int64_t folded[3] = {s.experts.count, s.rows(), g.columns};
    bool fits = destination.ndim == 3 || (destination.ndim == 2 && s.experts.count == 1);
    for (int32_t i = 0; fits && i < destination.ndim; ++i)
        fits = destination.shape[i] == folded[3 - destination.ndim + i];
    bool same = s.everything && destination.ndim == g.ndim;
    for (int32_t i = 0; same && i < g.ndim; ++i)
        same = destination.shape[i] == g.shape[i];
    return fits || same ? MOEQ_OK : check_shape(destination, wanted, 3, folded, report);
}

} // namespace

extern "C" moeq_status moeq_qtensor_dequantize(const moeq_qtensor* qtensor, const moeq_region* region, void* stream,
                                               DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_qtensor_dequantize", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_dequantize::qtensor, report));
        const EncodedWeight& weight = qtensor->weight;
        moeq_region known;
        Selection selection;
        MOEQ_TRY(read_struct(region, &known, arg::qtensor_dequantize::region, report));
        MOEQ_TRY(select(known, weight.geometry, &selection, report));
        const Storage& storage = *qtensor->storage;
        OpenCall open;
        MOEQ_TRY(open_call(*storage.context, storage.device, {arg::qtensor_dequantize::qtensor, 0}, stream,
                           arg::qtensor_dequantize::stream, &open, report));
        open.call.status_word = known.status_word;
        open.call.hot = true;
        if (known.expert_ids != nullptr)
            MOEQ_TRY(check_placed(open.call, selection.ids, kIds, report));
        const Wanted wanted{.argument = arg::qtensor_dequantize::destination,
                            .dtypes = kSetWeights,
                            .access = Access::kWrite,
                            .where = Where::kAnyDevice};
        TensorView view;
        MOEQ_TRY(accept_tensor(destination, wanted, &view, report));
        MOEQ_TRY(check_placed(open.call, view, wanted, report));
        MOEQ_TRY(check_destination_shape(view, selection, weight.geometry, wanted, report));
        if (view.empty())
            return MOEQ_OK;
        MOEQ_TRY(check_components_apart(weight, view, wanted, "the handle's own storage", report));
        MOEQ_TRY(check_no_overlap(view, wanted, selection.ids, "the list of experts", report));
        return open.backend->decode(open.call, weight, selection.experts, selection.row_begin, selection.row_end,
                                    StackView(view), known.stores, report);
    });
}

extern "C" moeq_status moeq_qtensor_copy(const moeq_qtensor* qtensor, int32_t device_type, int32_t device_id,
                                         void* stream, moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_qtensor_copy", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::qtensor_copy::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_copy::qtensor, report));
        const Storage& source = *qtensor->storage;
        Device device;
        MOEQ_TRY(read_device(device_type, device_id, source.device, arg::qtensor_copy::device_type,
                             arg::qtensor_copy::device_id, &device, report));
        // The side that is a device does the copying.
        OpenCall open;
        MOEQ_TRY(open_call(*source.context, device.on_host() ? source.device : device,
                           {arg::qtensor_copy::device_type, 0}, stream, arg::qtensor_copy::stream, &open, report));
        OpenCall home;
        MOEQ_TRY(open_call(*source.context, device, {arg::qtensor_copy::device_type, 0},
                           device.on_host() ? nullptr : stream, arg::qtensor_copy::stream, &home, report));
        EncodedWeight copy;
        Storage* storage = nullptr;
        MOEQ_TRY(storage_allocate(*source.context, home, qtensor->weight.geometry, &copy, &storage, report));
        moeq_status status = copy_components(open, qtensor->weight, copy, report);
        if (status == MOEQ_OK)
            status = qtensor_create(copy, storage, false, out, report);
        if (status != MOEQ_OK)
            storage->release();
        return status;
    });
}

extern "C" moeq_status moeq_qtensor_slice(const moeq_qtensor* qtensor, int32_t axis, int64_t begin, int64_t end,
                                          moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_qtensor_slice", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::qtensor_slice::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_slice::qtensor, report));
        EncodedWeight slice;
        MOEQ_TRY(slice_weight(qtensor->weight, axis, begin, end, &slice, report));
        qtensor->storage->retain();
        const moeq_status status = qtensor_create(slice, qtensor->storage, true, out, report);
        if (status != MOEQ_OK)
            qtensor->storage->release();
        return status;
    });
}

extern "C" moeq_status moeq_qtensor_compare(const moeq_qtensor* qtensor, const DLManagedTensorVersioned* source,
                                            void* stream, DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_qtensor_compare", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_compare::qtensor, report));
        const Geometry& g = qtensor->weight.geometry;
        TensorView dense;
        TensorView figures;
        const Wanted source_wanted{
            .argument = arg::qtensor_compare::source, .dtypes = kSetWeights, .where = Where::kAnyDevice};
        MOEQ_TRY(accept_tensor(source, source_wanted, &dense, report));
        MOEQ_TRY(check_shape(dense, source_wanted, g.ndim, g.shape, report));
        const Storage& storage = *qtensor->storage;
        OpenCall open;
        MOEQ_TRY(open_call(*storage.context, storage.device, {arg::qtensor_compare::qtensor, 0}, stream,
                           arg::qtensor_compare::stream, &open, report));
        const Wanted wanted{
            .argument = arg::qtensor_compare::destination, .dtypes = kSetFp64, .access = Access::kWrite};
        MOEQ_TRY(accept_tensor(destination, wanted, &figures, report));
        if (figures.ndim != 2 || figures.shape[0] != g.experts || figures.shape[1] > kMetrics)
            return (report.fail(MOEQ_ERROR_SHAPE, arg::qtensor_compare::destination) << "got shape ")
                       .shape(figures.ndim, figures.shape)
                   << "; want [" << g.experts << ", k] with k at most " << kMetrics;
        if (figures.empty())
            return MOEQ_OK;
        MOEQ_TRY(check_no_overlap(figures, wanted, dense, "source", report));
        MOEQ_TRY(check_components_apart(qtensor->weight, figures, wanted, "the handle's own storage", report));
        const MetricSink sink{figures.data, figures.strides[0] * figures.itemsize(),
                              figures.strides[1] * figures.itemsize(), static_cast<int32_t>(figures.shape[1])};
        MOEQ_TRY(check_able(*open.backend, open.backend->compare, "compare", report));
        Input input(open);
        MOEQ_TRY(input.bring(source_wanted, &dense, report));
        return open.backend->compare(open.call, qtensor->weight, StackView(dense), sink, report);
    });
}
