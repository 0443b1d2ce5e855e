// What all scripts share: they are told by the environment, do one step after the other, and print one JSON object.

export const { BASE_URL, API_KEY, PACKAGE, PICTURE, RUN } = process.env

/** The gateway without the path: what Azure's clients call the endpoint. */
export const ORIGIN = new URL(BASE_URL).origin

/** The prompt of one step, which no other step of no other run has. */
export const prompt = (step, order = '') => `${order} ${step} ${RUN}`.trim()

/**
 * Do the steps in their order, and print what each gave or threw.
 *
 * @param {Record<string, () => Promise<unknown>>} steps
 */
export async function run(steps) {
  const seen = {}
  for (const [name, step] of Object.entries(steps)) {
    try {
      seen[name] = await step()
    } catch (error) {
      seen[name] = thrown(error)
    }
  }
  process.stdout.write(`${JSON.stringify(seen)}\n`)
}

function thrown(error) {
  return {
    error: error.name === 'Error' ? error.constructor.name : error.name,
    message: error.message,
    status: error.status ?? error.statusCode,
    code: error.code ?? error.data?.error?.code,
    param: error.param ?? error.data?.error?.param,
    type: error.type ?? error.data?.error?.type,
    requestId: error.requestID ?? error.request_id,
    retryable: error.isRetryable,
  }
}
