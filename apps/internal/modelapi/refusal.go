package modelapi

import (
	"context"
	"errors"
	"net/http"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/picture"
	"headroom.dev/apps/internal/reply"
)

// refusal is an answer that is no prediction.
type refusal struct {
	status  int
	code    reply.Code
	message string
	// reason is what it counts as: the code, or why nothing could be served now.
	reason string
}

// reasons are all that a refusal may count as.
var reasons = []string{
	string(reply.BadRequest), string(reply.BadImage), string(reply.TooLarge), string(reply.UnsupportedMediaType),
	string(reply.RequestTimeout), string(reply.DeadlineExceeded), string(reply.NotReady), string(reply.NotFound), string(reply.Overloaded),
	string(inference.Full), string(inference.Displaced), string(inference.TooLate),
}

func refuse(status int, code reply.Code, message string) refusal {
	return refusal{status: status, code: code, message: message, reason: string(code)}
}

func badRequest(err error) refusal {
	return refuse(http.StatusBadRequest, reply.BadRequest, err.Error())
}

func notLoaded() refusal {
	return refuse(http.StatusServiceUnavailable, reply.NotReady, "the model is still being loaded")
}

// refusalOf is the answer to an error. Where it is the server's own failure,
// ours is true, and its text is for the log alone.
func refusalOf(err error) (r refusal, ours bool) {
	var noPicture *picture.Error
	var bad *imaging.Error
	var notNow *inference.Refusal
	switch {
	case errors.As(err, &noPicture):
		return refuse(noPicture.Status, reply.Code(noPicture.Code), noPicture.Message), false
	case errors.As(err, &bad) && bad.TooLarge:
		return refuse(http.StatusRequestEntityTooLarge, reply.TooLarge, bad.Message), false
	case errors.As(err, &bad):
		return refuse(http.StatusBadRequest, reply.BadImage, bad.Message), false
	case errors.As(err, &notNow):
		return refusal{http.StatusServiceUnavailable, reply.Overloaded, notNow.Message, string(notNow.Reason)}, false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// Also where the caller is gone, and nobody reads this.
		return refuse(http.StatusGatewayTimeout, reply.DeadlineExceeded, "the deadline passed before the picture was classified"), false
	}
	return refuse(http.StatusInternalServerError, reply.Internal, "the model failed on this picture; the server's log says why"), true
}
