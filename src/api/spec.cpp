// Specs are values: nothing here needs a context or memory.
#include "api/spec.h"
#include "api/arguments.h"
#include "api/boundary.h"
#include "formats/geometry.h"
#include "formats/spec_text.h"

using namespace moeq;

namespace {

moeq_status geometry_of(const moeq_spec* spec, int32_t ndim, const int64_t* shape, Geometry* out, Report& report)
{
    MOEQ_TRY(check_not_null(spec, arg::spec_resolve::spec, report));
    moeq_spec known;
    MOEQ_TRY(read_struct(spec, &known, arg::spec_resolve::spec, report));
    return make_geometry(known, arg::spec_resolve::spec, ndim, shape, arg::spec_resolve::shape, out, report);
}

} // namespace

extern "C" moeq_status moeq_spec_resolve(const moeq_spec* spec, int32_t ndim, const int64_t* shape, moeq_spec* out,
                                         moeq_error* err)
{
    return guarded("moeq_spec_resolve", err, [&](Report& report) -> moeq_status {
        Geometry geometry;
        MOEQ_TRY(geometry_of(spec, ndim, shape, &geometry, report));
        MOEQ_TRY(check_not_null(out, arg::spec_resolve::out, report));
        MOEQ_TRY(check_struct_size<moeq_spec>(out->struct_size, arg::spec_resolve::out, report));
        write_struct(geometry.spec, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_spec_get_component(const moeq_spec* spec, int32_t ndim, const int64_t* shape,
                                               int32_t component, moeq_component_info* out, moeq_error* err)
{
    return guarded("moeq_spec_get_component", err, [&](Report& report) -> moeq_status {
        Geometry geometry;
        MOEQ_TRY(geometry_of(spec, ndim, shape, &geometry, report));
        MOEQ_TRY(check_not_null(out, arg::spec_get_component::out, report));
        MOEQ_TRY(check_struct_size<moeq_component_info>(out->struct_size, arg::spec_get_component::out, report));
        TensorView view;
        if (!component_layout(geometry, component, &view))
            return report.fail(MOEQ_ERROR_NOT_FOUND, arg::spec_get_component::component)
                   << "got " << component << " (" << component_name(component) << "); want a component that "
                   << geometry.format->name << (geometry.nested() ? " with nested statistics has" : " has");
        moeq_component_info info{};
        info.component = component;
        info.dtype = view.dtype;
        info.ndim = view.ndim;
        for (int32_t i = 0; i < view.ndim; ++i)
            info.shape[i] = view.shape[i];
        info.bytes = view.count * view.itemsize();
        write_struct(info, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_spec_get_bytes(const moeq_spec* spec, int32_t ndim, const int64_t* shape, int64_t* bytes,
                                           int64_t* staging, moeq_error* err)
{
    return guarded("moeq_spec_get_bytes", err, [&](Report& report) -> moeq_status {
        Geometry geometry;
        MOEQ_TRY(geometry_of(spec, ndim, shape, &geometry, report));
        if (bytes != nullptr)
            *bytes = stored_bytes(geometry);
        if (staging != nullptr) {
            const int32_t dtype = geometry.spec.logical_dtype == 0 ? MOEQ_DTYPE_FP32 : geometry.spec.logical_dtype;
            *staging = geometry.count() * dtype_bytes(dtype) +
                       (geometry.nested() ? geometry.block_count() * static_cast<int64_t>(sizeof(float)) : 0);
        }
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_spec_parse(const char* text, moeq_spec* out, moeq_error* err)
{
    return guarded("moeq_spec_parse", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(text, arg::spec_parse::text, report));
        MOEQ_TRY(check_not_null(out, arg::spec_parse::out, report));
        MOEQ_TRY(check_struct_size<moeq_spec>(out->struct_size, arg::spec_parse::out, report));
        moeq_spec spec;
        MOEQ_TRY(parse_spec(text, &spec, report));
        write_struct(spec, out);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_spec_print(const moeq_spec* spec, char* out_text, moeq_error* err)
{
    return guarded("moeq_spec_print", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(spec, arg::spec_print::spec, report));
        MOEQ_TRY(check_not_null(out_text, arg::spec_print::out_text, report));
        moeq_spec known;
        MOEQ_TRY(read_struct(spec, &known, arg::spec_print::spec, report));
        return print_spec(known, out_text, report);
    });
}
