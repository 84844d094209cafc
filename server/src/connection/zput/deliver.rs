//! The result of a job, which the connection has waited for.

use std::sync::Arc;

use tracing::info;
use zput_proto::message::{ErrorCode, RemoteError, Response};

use super::{
    super::{close::CloseReason, context::TurnContext, driver::Next},
    error_response::{error_response, response_to},
    service::{Service, Task},
};
use crate::{
    jobs::{Done, JobError},
    store::Upload,
};

impl Service {
    /// Takes the result of the job.
    pub(super) fn take_result(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<Next, CloseReason> {
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match done {
            Done::Answer(response) => self.respond(&response),
            Done::Refused(refusal) => self.refuse(refusal),
            Done::Account(Ok(scopes)) => {
                if let Some(scopes) = scopes {
                    self.peer.register(scopes);
                }
                Ok(Next::Continue)
            }
            Done::Joined(Ok(scopes)) => {
                info!(peer = self.peer.address, %scopes, "a device joined");
                self.peer.register(scopes);
                self.respond(&Response::Joined { scopes })
            }
            Done::Account(Err(refusal)) => {
                // There is no request yet to respond to.
                let text = match refusal.code {
                    ErrorCode::Busy => "it is overloaded",
                    _ => {
                        "the server cannot read what this device may do: its operator has to mend \
                         the account"
                    }
                };
                self.turned_away = Some(RemoteError::new(refusal.code, text));
                Ok(Next::Continue)
            }
            Done::Joined(Err(refusal)) => {
                // PROTOCOL 5: "After a Join that is refused the connection ends".
                self.respond_last(&response_to(&refusal, self.explains_failures))
            }
            Done::Begun(upload) => {
                self.upload = Some(upload);
                self.respond(&Response::Begun)
            }
            Done::Claimed(upload, slices) => {
                self.upload = Some(upload);
                self.respond(&Response::Held { slices })
            }
            Done::Opened(object) => {
                let Task::Opening(mount, read) = task else {
                    return Err(CloseReason::Stuck("an object was opened that nobody asked for"));
                };
                match object {
                    Ok(object) => {
                        let object = Arc::new(object);
                        cx.files.insert(&mount, read.key.as_bytes(), &object, cx.now.instant);
                        self.send_object(&object, &read, cx)
                    }
                    Err(refusal) => self.refuse(refusal),
                }
            }
            Done::Loaded(..) => {
                Err(CloseReason::Stuck("bytes were loaded that are not being sent"))
            }
            Done::Finished => Err(CloseReason::Stuck("a job ended that nobody waits for")),
            Done::Appended { upload, end, buffers } => {
                buffers.into_iter().for_each(|buffer| cx.buffers.give(buffer));
                self.appended(task, upload, end, cx)
            }
            Done::Panicked { buffers } => {
                cx.buffers.lost(buffers);
                if let Task::Receiving(receive) = task {
                    receive.into_parts().1.into_iter().for_each(|b| cx.buffers.give(b));
                }
                self.respond_last(&error_response(ErrorCode::Internal))
            }
        }
    }

    fn appended(
        &mut self,
        task: Task,
        upload: Result<Box<Upload>, JobError>,
        end: bool,
        cx: &mut TurnContext<'_>,
    ) -> Result<Next, CloseReason> {
        let Task::Receiving(mut receive) = task else {
            return Err(CloseReason::Stuck("bytes were written that were not being received"));
        };
        match upload {
            Ok(upload) if end => {
                self.upload = Some(upload);
                self.respond(&Response::SliceHeld)
            }
            Ok(upload) => {
                receive.returned(upload);
                self.task = Task::Receiving(receive);
                Ok(Next::Continue)
            }
            Err(refusal) => {
                receive.into_parts().1.into_iter().for_each(|buffer| cx.buffers.give(buffer));
                // The peer learns of it now, while it is still sending the slice.
                self.task = Task::Discarding(None);
                self.refuse(refusal)
            }
        }
    }
}
