// Values inside a network, found by the names of its layers.
#pragma once

#include "engine/graph.h"

// What the last node of a layer gives, "layer1.0.conv1", or of a stage, "layer1".
inline Value value_of_layer(const Graph& graph, const std::string& layer) {
    for (size_t n = graph.nodes.size(); n-- > 0;)
        if (graph.nodes[n].layer == layer || graph.nodes[n].layer.starts_with(layer + "."))
            return {const_cast<Graph*>(&graph), graph.nodes[n].out[0]};
    fail(Fault::runtime, "the network has no layer {}", layer);
}
