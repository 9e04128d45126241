// Where codes and scales live: memory of the context, or tensors of the caller's.
#include "api/boundary.h"
#include "api/qtensor.h"
#include "formats/given_amax.h"

namespace moeq {

Device device_of(const EncodedWeight& weight) { return weight.codes.device(); }

void Storage::release()
{
    if (references.fetch_sub(1, std::memory_order_acq_rel) != 1)
        return;
    const moeq_context* owner = context;
    for (int32_t i = 0; i < adopted_count; ++i)
        managed_tensor_delete(adopted[i]);
    if (memory != nullptr)
        backend->release(
            {.device = device, .stream = home_stream, .engine = &owner->engine, .allocator = &owner->allocator}, memory,
            bytes);
    destroy(owner->allocator, this);
    owner->release();
}

moeq_status storage_allocate(const moeq_context& context, const OpenCall& open, const Geometry& geometry,
                             EncodedWeight* weight, Storage** out, Report& report)
{
    const uint64_t bytes = static_cast<uint64_t>(weight->lay_out(geometry));
    auto* storage = create<Storage>(context.allocator, context, open);
    if (storage == nullptr)
        return report.out_of_memory(sizeof(Storage));
    const moeq_status status = open.backend->allocate(open.call, bytes, &storage->memory, report);
    if (status != MOEQ_OK) {
        storage->memory = nullptr;
        storage->release();
        return status;
    }
    storage->bytes = bytes;
    weight->place(storage->memory, open.call.device);
    *out = storage;
    return MOEQ_OK;
}

namespace {

// Kernels walk the last axis of these without a stride, and the nested ones as a whole.
moeq_status check_inner_stride(const Geometry& geometry, int32_t component, const TensorView& view,
                               const Wanted& wanted, Report& report)
{
    const bool whole = component == MOEQ_COMPONENT_NESTED_SCALE || component == MOEQ_COMPONENT_NESTED_MAP;
    const bool inner = component == MOEQ_COMPONENT_CODES || (component == MOEQ_COMPONENT_SCALE && geometry.in_runs());
    const bool fits =
        whole ? is_contiguous(view)
              : !inner || view.ndim == 0 || view.shape[view.ndim - 1] <= 1 || view.strides[view.ndim - 1] == 1;
    const bool flat_codes = component == MOEQ_COMPONENT_CODES && geometry.flat();
    if (view.empty() || (fits && (!flat_codes || is_contiguous(view))))
        return MOEQ_OK;
    Failure failure = report.fail(MOEQ_ERROR_LAYOUT, wanted.argument);
    failure << "got " << component_name(component) << " with strides ";
    return failure.shape(view.ndim, view.strides)
           << (whole || flat_codes ? "; want them row-major" : "; want a stride of 1 on the last axis");
}

// One component against its layout.
moeq_status accept_component(const Geometry& geometry, const moeq_component& component, Access access,
                             const Wanted& base, TensorView* out, Report& report)
{
    if (component.reserved != 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, base.argument) << "got reserved " << component.reserved << "; want 0";
    TensorView layout;
    if (!component_layout(geometry, component.component, &layout))
        return report.fail(MOEQ_ERROR_NOT_FOUND, base.argument)
               << "got component " << component.component << " (" << component_name(component.component)
               << "); want one that " << geometry.format->name << " has with this spec";
    Wanted wanted = base;
    wanted.argument = base.argument.field(component_name(component.component));
    wanted.dtypes = dtype_set(layout.dtype);
    wanted.access = access;
    wanted.where = Where::kAnyDevice;
    // Raw bytes serve as codes of any 8-bit type: frameworks without FP8 keep them as uint8.
    if (component.component == MOEQ_COMPONENT_CODES)
        wanted.dtypes |= kSetUint8;
    MOEQ_TRY(accept_tensor(component.tensor, wanted, out, report));
    MOEQ_TRY(check_shape(*out, wanted, layout.ndim, layout.shape, report));
    return check_inner_stride(geometry, component.component, *out, wanted, report);
}

} // namespace

moeq_status accept_components(const Geometry& geometry, const moeq_component* components, int64_t count, Access access,
                              const Argument& argument, EncodedWeight* weight, Report& report)
{
    const Wanted base{.argument = argument, .dtypes = 0};
    if (count < 0 || count > kComponentLimit)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument)
               << "got a count of " << count << "; want 1 to " << kComponentLimit;
    if (components == nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument) << "got NULL; want an array of " << count << " components";
    weight->geometry = geometry;
    uint32_t seen = 0;
    TensorView views[kComponentLimit];
    for (int64_t i = 0; i < count; ++i) {
        const int32_t id = components[i].component;
        MOEQ_TRY(accept_component(geometry, components[i], access, base, &views[i], report));
        if ((seen >> id & 1) != 0)
            return report.fail(MOEQ_ERROR_DUPLICATE, argument)
                   << "got " << component_name(id) << " twice; want it once";
        seen |= 1u << id;
        for (int64_t j = 0; j < i; ++j)
            if (components[j].tensor == components[i].tensor)
                return report.fail(MOEQ_ERROR_DUPLICATE, argument)
                       << "got one tensor as " << component_name(components[j].component) << " and as "
                       << component_name(id) << "; want a tensor for each: its deleter runs once";
        for (int64_t j = 0; access == Access::kWrite && j < i; ++j)
            MOEQ_TRY(check_no_overlap(views[i], {argument.field(component_name(id)), 0}, views[j],
                                      component_name(components[j].component), report));
        // A map to read is a constant of the host's, also where a weight on a device exports it.
        if (id == MOEQ_COMPONENT_CODE_MAP && access == Access::kRead)
            continue;
        weight->component(id) = views[i];
    }
    int32_t ids[kComponentLimit];
    const int32_t needed = stored_components(geometry, ids);
    for (int32_t i = 0; i < needed; ++i)
        if ((seen >> ids[i] & 1) == 0)
            return report.fail(MOEQ_ERROR_INCOMPLETE, argument)
                   << "got no " << component_name(ids[i]) << "; want it among the components of "
                   << geometry.format->name;
    for (int64_t i = 0; i < count; ++i)
        if (weight->has(components[i].component) && !(views[i].device() == device_of(*weight)))
            return report.fail(MOEQ_ERROR_DEVICE, argument.field(component_name(components[i].component)))
                   << "got it on another device than the codes; want all components on one";
    weight->prepare();
    return MOEQ_OK;
}

moeq_status check_components_apart(const EncodedWeight& weight, const TensorView& other, const Wanted& wanted,
                                   const char* overlapped, Report& report)
{
    for (int32_t id = MOEQ_COMPONENT_CODES; id < kComponentLimit; ++id)
        if (weight.has(id))
            MOEQ_TRY(check_no_overlap(weight.component(id), wanted, other, overlapped, report));
    return MOEQ_OK;
}

moeq_status check_components_writable(const EncodedWeight& weight, const Wanted& wanted, Report& report)
{
    for (int32_t id = MOEQ_COMPONENT_CODES; id < kComponentLimit; ++id) {
        if (!weight.has(id))
            continue;
        const TensorView& view = weight.component(id);
        if (view.read_only)
            return report.fail(MOEQ_ERROR_READ_ONLY, wanted.argument)
                   << "got a handle whose " << component_name(id) << " was adopted read-only; want writable storage";
        if (!is_injective(view))
            return report.fail(MOEQ_ERROR_LAYOUT, wanted.argument)
                   << "got a handle whose " << component_name(id)
                   << " was adopted with elements that share an address; want an address for each";
        for (int32_t other = MOEQ_COMPONENT_CODES; other < id; ++other)
            if (weight.has(other))
                MOEQ_TRY(check_no_overlap(view, wanted, weight.component(other), component_name(other), report));
    }
    return MOEQ_OK;
}

moeq_status copy_components(const OpenCall& open, const EncodedWeight& from, const EncodedWeight& to, Report& report)
{
    int32_t ids[kComponentLimit];
    const int32_t count = stored_components(from.geometry, ids);
    for (int32_t i = 0; i < count; ++i)
        MOEQ_TRY(open.backend->copy(open.call, from.component(ids[i]), to.component(ids[i]), report));
    return MOEQ_OK;
}

moeq_status check_code_map(const OpenCall& open, const Geometry& geometry, const moeq_component* components,
                           int64_t count, const Argument& argument, Report& report)
{
    for (int64_t i = 0; i < count; ++i) {
        if (components[i].component != MOEQ_COMPONENT_CODE_MAP)
            continue;
        TensorView view;
        const Wanted wanted{.argument = argument, .dtypes = kSetFp32, .where = Where::kAnyDevice};
        MOEQ_TRY(accept_tensor(components[i].tensor, wanted, &view, report));
        HostCopy here(open);
        MOEQ_TRY(here.fetch(wanted, &view, report));
        for (int64_t code = 0; code < view.count; ++code) {
            const char* at = view.data + code * view.strides[0] * view.itemsize();
            if (std::memcmp(at, geometry.format->code_map + code, sizeof(float)) != 0)
                return report.fail(MOEQ_ERROR_UNSUPPORTED, argument)
                       << "got a code_map whose value " << code << " is not that of " << geometry.format->name
                       << "; want the format's own table, or none";
        }
    }
    return MOEQ_OK;
}

moeq_status storage_adopt(const moeq_context& context, const OpenCall& open, const moeq_component* components,
                          int64_t count, Storage** out, Report& report)
{
    auto* storage = create<Storage>(context.allocator, context, open);
    if (storage == nullptr)
        return report.out_of_memory(sizeof(Storage));
    for (int64_t i = 0; i < count; ++i)
        storage->adopted[storage->adopted_count++] = components[i].tensor;
    *out = storage;
    return MOEQ_OK;
}

void storage_disown(Storage* storage)
{
    storage->adopted_count = 0;
    storage->release();
}

moeq_status qtensor_create(const EncodedWeight& weight, Storage* storage, bool sliced, moeq_qtensor** out,
                           Report& report)
{
    auto* qtensor = create<moeq_qtensor>(storage->context->allocator);
    if (qtensor == nullptr)
        return report.out_of_memory(sizeof(moeq_qtensor));
    qtensor->storage = storage;
    qtensor->weight = weight;
    qtensor->sliced = sliced;
    *out = qtensor;
    return MOEQ_OK;
}

moeq_status accept_amax(const DLManagedTensorVersioned* amax, const Geometry& geometry, const Argument& options,
                        TensorView* out, Report& report)
{
    const Wanted wanted{.argument = options.field("amax"), .dtypes = kSetFp32, .where = Where::kAnyDevice};
    if (geometry.in_runs() || geometry.spec.granularity != MOEQ_GRANULARITY_EXPERT)
        return report.fail(MOEQ_ERROR_ARGUMENT, wanted.argument)
               << "got an amax with a spec that has no scale per expert; want granularity EXPERT, or none";
    MOEQ_TRY(accept_tensor(amax, wanted, out, report));
    if (out->ndim != 0 || geometry.experts != 1)
        MOEQ_TRY(check_shape(*out, wanted, 1, &geometry.experts, report));
    return out->device().on_host() ? check_given_amax(*out, options.number, report) : MOEQ_OK;
}

} // namespace moeq
