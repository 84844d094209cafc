//! The result of a job, which the connection has waited for.

use std::{sync::Arc, time::Instant};

use tracing::info;
use zput_proto::message::{ErrorCode, RemoteError, Response};

use super::{
    super::{close::CloseReason, context::TurnContext},
    authorize::Principal,
    connection::{Connection, Task},
    error_response::{error_response, response_to},
};
use crate::{
    jobs::{Done, JobError},
    store::Upload,
};

impl Connection {
    /// Takes the result of the job.
    pub(crate) fn deliver(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        self.ticket = None;
        // The time that the disk took does not count as the peer's idle time.
        self.session.keep_alive(now);
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match done {
            Done::Answer(response) => self.respond(&response),
            Done::Refused(refusal) => self.refuse(refusal, now),
            Done::Account(Ok(scopes)) => {
                if let (Some(scopes), Some(Principal::Unregistered(device))) =
                    (scopes, &self.principal)
                {
                    self.principal = Some(Principal::Registered(*device, scopes));
                }
                Ok(())
            }
            Done::Joined(Ok(scopes)) => {
                if let Some(device) = self.principal.as_ref().and_then(Principal::device) {
                    info!(peer = self.peer, %scopes, "a device joined");
                    self.principal = Some(Principal::Registered(device, scopes));
                }
                self.respond(&Response::Joined { scopes })
            }
            Done::Account(Err(refusal)) => {
                // There is no request yet to respond to.
                let text = "the server cannot read what this device may do: its operator has to mend \
                            the account";
                self.turned_away = Some(RemoteError::new(refusal.code, text));
                Ok(())
            }
            Done::Joined(Err(refusal)) => {
                // PROTOCOL 5: "After a Join that is refused the connection ends".
                self.respond(&response_to(&refusal, self.explains_failures))?;
                self.begin_close(now);
                Ok(())
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
                        cx.files.insert(&mount, read.key.as_bytes(), &object, now);
                        self.send_object(&object, &read, cx)
                    }
                    Err(refusal) => self.refuse(refusal, now),
                }
            }
            Done::Loaded(window, Ok(())) => {
                let Task::Sending(mut transfer) = task else {
                    return Err(CloseReason::Stuck("bytes were loaded that are not being sent"));
                };
                transfer.loaded(&window, now);
                cx.metrics.load(window.waited(now));
                self.task = Task::Sending(transfer);
                Ok(())
            }
            Done::Loaded(_, Err(failure)) => Err(CloseReason::Load(failure)),
            Done::Appended { upload, end, buffers } => {
                buffers.into_iter().for_each(|buffer| cx.buffers.give(buffer));
                self.appended(task, upload, end, now, cx)
            }
            Done::Panicked { buffers } => {
                cx.buffers.lost(buffers);
                if let Task::Receiving(receive) = task {
                    receive.into_parts().1.into_iter().for_each(|b| cx.buffers.give(b));
                }
                self.respond(&error_response(ErrorCode::Internal))?;
                self.begin_close(now);
                Ok(())
            }
        }
    }

    fn appended(
        &mut self,
        task: Task,
        upload: Result<Box<Upload>, JobError>,
        end: bool,
        now: Instant,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
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
                Ok(())
            }
            Err(refusal) => {
                receive.into_parts().1.into_iter().for_each(|buffer| cx.buffers.give(buffer));
                // The peer learns of it now, while it is still sending the slice.
                self.task = Task::Discarding(None);
                self.refuse(refusal, now)
            }
        }
    }
}
