// The one way the console asks the gateway.

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** The answer's JSON. Throws ApiError with words that can be shown. */
export async function request<T>(path: string, options: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new ApiError("The gateway does not answer. Is it running, and is this page's address still right?", 0);
  }
  const text = await response.text();
  let body: unknown = null,
    readable = true;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    readable = false;
  }
  if (response.status === 401)
    throw new ApiError("The gateway does not know who asks, or no longer. Reload this page to sign in.", 401);
  if (!response.ok) {
    const said = readable
      ? typeof body === "string"
        ? body
        : (body as { error?: string } | null)?.error
      : /^\s*</.test(text)
        ? ""
        : text.slice(0, 500);
    throw new ApiError(said || `The gateway answered ${response.status}.`, response.status);
  }
  // A proxy whose session has ended answers with its own page.
  if (!readable)
    throw new ApiError(
      "Something else than the gateway answered, perhaps a page to sign in. Reload this page.",
      response.status,
    );
  return body as T;
}

/** A request that changes something. */
export const send = <T>(method: string, path: string, body?: unknown): Promise<T> =>
  request<T>(path, {
    method,
    ...(body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  });

export const query = (path: string, parameters: Record<string, string | number | undefined>): string => {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters))
    if (value !== undefined && value !== "") search.set(key, String(value));
  const text = search.toString();
  return text ? `${path}?${text}` : path;
};
