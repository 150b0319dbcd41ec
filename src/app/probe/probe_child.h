// ProbeChild: the other end of models/model_probe.h, in the process that a model is probed in.
//
// Reads its order, gives up what it does not need (confinement.h), then does with the model what a
// worker does: looks through its file, loads it, runs every batch bucket, its golden rows, and rows
// in other company. It says what it is at before it begins, so that whoever waits knows what a
// model did that ended it. Not for people: no help names it.
#pragma once

namespace millrace {

// Whether this process was started as such.
bool IsProbeChild(int argc, char** argv);

// The exit code; does not return when the model ends the process.
int RunProbeChild();

}  // namespace millrace
