package masq

import (
	"fmt"
	"slices"
	"strings"
)

// The annotations of pods.
const (
	AnnotationPrefix = "masq-cni.dev/"
	// EgressAnnotation with the value "direct" opts a pod out of translation.
	EgressAnnotation = AnnotationPrefix + "egress"
	// SNATAnnotation selects some of the network's egress addresses.
	SNATAnnotation = AnnotationPrefix + "snat-addresses"
)

// Annotations lists all annotations in alphabetical order.
var Annotations = []string{EgressAnnotation, SNATAnnotation}

// ParseAnnotation returns the full name of an annotation, given with or without its prefix.
func ParseAnnotation(s string) (string, *Problem) {
	name := AnnotationPrefix + strings.TrimPrefix(s, AnnotationPrefix)
	if !slices.Contains(Annotations, name) {
		return "", &Problem{"is not an annotation of masq", fmt.Sprintf("give %q or %q", EgressAnnotation, SNATAnnotation)}
	}
	return name, nil
}

// Allows reports whether a pod may use an annotation. Without a list, a pod may not opt out
// of a policy with egress addresses: firewalls beyond the node may accept only these sources.
func (p Policy) Allows(annotation string) bool {
	if p.AllowAnnotations != nil {
		return slices.Contains(p.AllowAnnotations, annotation)
	}
	return annotation != EgressAnnotation || len(p.SNATAddresses) == 0
}
