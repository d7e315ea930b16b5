package masq

import (
	"fmt"
	"slices"
	"strings"
)

// The annotations by which a pod chooses among what its network allows.
const (
	AnnotationPrefix = "masq-cni.dev/"
	// EgressAnnotation with the value "direct" opts out of translation.
	EgressAnnotation = AnnotationPrefix + "egress"
	// SNATAnnotation picks from the egress addresses of the network.
	SNATAnnotation = AnnotationPrefix + "snat-addresses"
)

// Annotations are all annotations of pods, in alphabetical order.
var Annotations = []string{EgressAnnotation, SNATAnnotation}

// ParseAnnotation returns the full name of an annotation that is given with or without
// its prefix.
func ParseAnnotation(s string) (string, *Problem) {
	name := AnnotationPrefix + strings.TrimPrefix(s, AnnotationPrefix)
	if !slices.Contains(Annotations, name) {
		return "", &Problem{"is not an annotation of masq", fmt.Sprintf("give %q or %q", EgressAnnotation, SNATAnnotation)}
	}
	return name, nil
}

// Allows reports whether a pod may use an annotation. Without a list, a pod may not opt
// out where the policy names egress addresses: what is behind them expects no other
// source.
func (p Policy) Allows(annotation string) bool {
	if p.AllowAnnotations != nil {
		return slices.Contains(p.AllowAnnotations, annotation)
	}
	return annotation != EgressAnnotation || len(p.SNATAddresses) == 0
}
