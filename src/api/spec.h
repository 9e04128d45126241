// Specs and shapes as entry points are given them: what is wrong is told of the arguments that they came as.
#pragma once

#include "formats/geometry.h"

namespace moeq {

[[nodiscard]] inline moeq_status resolve_spec(const moeq_spec& spec, const Argument& argument, moeq_spec* out,
                                              Report& report)
{
    return resolve_spec(spec, argument.number, argument.name, out, report);
}

[[nodiscard]] inline moeq_status make_geometry(const moeq_spec& spec, const Argument& of_spec, int32_t ndim,
                                               const int64_t* shape, const Argument& of_shape, Geometry* out,
                                               Report& report)
{
    return make_geometry(spec, of_spec.number, ndim, shape, of_shape.number, of_shape.name, out, report);
}

} // namespace moeq
